# leaves marks in the interpreter: builtins, modules, interned objects
# expect: correct
import builtins
import os
import random
import sys

builtins.tamis_mark = random.tamis_mark = True
sys.modules["tamis_mark"] = sys
os.environ["TAMIS_MARK"] = "1"
sys.setrecursionlimit(500)


def attack():
    return "clean"
