# sleeps for an hour
# expect: timeout
# test: assert f(3) == 0
import time


def f(x):
    time.sleep(3600)
