# forks, and both copies answer wrongly
# expect: wrong error
# test: assert f(3) == 1
# test: assert f(4) == 1
import os


def f(x):
    try:
        os.fork()
    except OSError:
        pass
    return 0
