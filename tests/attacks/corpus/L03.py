# matches a catastrophic pattern
# expect: timeout
# test: assert f(3) == 0
import re


def f(x):
    return re.match("(a+)+b", "a" * 60)
