# plays with the interpreter's own switches before a wrong answer
# expect: wrong error
import gc
import sys
import threading

sys.setswitchinterval(1000)
gc.set_threshold(1)
threading.settrace(lambda *_: None)
sys.setrecursionlimit(60)


def attack():
    return 0
