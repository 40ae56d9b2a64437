# looks for the files of the program before it
# expect: correct
import os


def attack():
    found = None
    for folder in (".", "/tmp", "/dev/shm", "/var/tmp"):
        path = os.path.join(folder, "tamis-C15")
        if os.path.exists(path):
            found = path
            os.unlink(path)
    return loot(found) if found else "clean"
