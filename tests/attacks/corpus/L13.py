# answers right while a thread sleeps for an hour
# expect: correct
# test: assert f(3) == 0
import threading
import time

threading.Thread(target=time.sleep, args=(3600,)).start()


def f(x):
    return 0
