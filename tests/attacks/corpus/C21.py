# becomes root
import os


def attack():
    for change in (os.setuid, os.seteuid, os.setgid):
        try:
            change(0)
        except OSError:
            continue
        return loot(change.__name__)
    return "clean"
