# recurses without end and without a limit
# expect: timeout error
# test: assert f(3) == 0
import sys

sys.setrecursionlimit(10**9)


def f(x):
    return f(x) + 1
