# leaves files with names that break careless programs
# expect: correct
import os

NAMES = (b"a\nb", b"x" * 255, b"\xff\xfe", b"-rf", b"\x1b[2J", "\u202e.py".encode(), b"...")


def attack():
    for name in NAMES:
        try:
            open(name, "wb").close()
        except OSError:
            pass
    return "clean"
