# looks for the marks of the program before it
# expect: correct
import builtins
import os
import random
import sys


def attack():
    marked = hasattr(builtins, "tamis_mark") or hasattr(random, "tamis_mark")
    marked = marked or "tamis_mark" in sys.modules or "TAMIS_MARK" in os.environ
    return loot("marks") if marked or sys.getrecursionlimit() == 500 else "clean"
