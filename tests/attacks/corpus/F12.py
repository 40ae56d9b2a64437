# a thread calls os._exit(0) a moment later
import os
import threading
import time


def leave():
    time.sleep(0.05)
    os._exit(0)


threading.Thread(target=leave).start()


def f(x):
    time.sleep(0.2)
    return 0
