# leaves FIFOs under the names that a harness might open
# expect: correct
import os

NAMES = ("stdout", "stderr", "result", "result.json", "solution.py", "test.py", "core")


def attack():
    for name in NAMES:
        try:
            os.mkfifo(name)
        except OSError:
            pass
    return "clean"
