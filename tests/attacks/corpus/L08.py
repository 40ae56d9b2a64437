# closes every descriptor, then answers wrongly
# expect: wrong error
# test: assert f(3) == 1
import os


def f(x):
    os.closerange(0, 256)
    return 0
