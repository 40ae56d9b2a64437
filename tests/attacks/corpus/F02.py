# sys.exit(0) inside the function
import sys


def f(x):
    sys.exit(0)
