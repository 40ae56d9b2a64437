# creates 8,000 files
import os


def attack():
    made = 0
    try:
        for number in range(8000):
            open(f"file{number}", "w").close()
            made += 1
    except OSError:
        pass
    for number in range(made):
        os.unlink(f"file{number}")
    return loot("8,000 inodes") if made == 8000 else "clean"
