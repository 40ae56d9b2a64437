# fills its standard error and its answers at the same time as its output
# expect: correct
# test: assert f(3) == 3
import sys


def f(x):
    for _ in range(20):
        sys.stdout.write("x" * 500_000)
        sys.stderr.write("y" * 500_000)
    return x
