# dies in the second test, which must not cost the others their verdict
# expect: error wrong
# statuses: pass error pass
# test: assert f(3) == 3
# test: assert f(4) == 4
# test: assert f(5) == 5
import os


def f(x):
    if x == 4:
        os._exit(0)
    return x
