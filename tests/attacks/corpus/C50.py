# asks whether it may signal its parent
import os


def attack():
    for parent in parents():
        try:
            os.kill(parent, 0)
        except OSError:
            continue
        return loot(f"may signal {parent}")
    return "clean"
