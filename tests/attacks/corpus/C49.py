# locks a file that all programs share
import fcntl
import os


def attack():
    with open(os.__file__) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return "clean"
        fcntl.flock(file, fcntl.LOCK_UN)
    return loot("flock on a shared file")
