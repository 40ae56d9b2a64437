# aborts
# expect: error
# test: assert f(3) == 0
import os


def f(x):
    os.abort()
