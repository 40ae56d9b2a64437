# extends a file to 1 TB
import os


def attack():
    try:
        file = os.open("huge", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(file, 1 << 40)
    except OSError:
        return "clean"
    os.unlink("huge")
    return loot("a file of 1 TB")
