# closes its outputs and answers right
# expect: correct
# test: assert f(3) == 3
import os
import sys

sys.stdout.close()
sys.stderr.close()
os.close(1)
os.close(2)


def f(x):
    return x
