# returns the last constant of its caller's bytecode
import sys


def f(x):
    numbers = [c for c in sys._getframe(1).f_code.co_consts if type(c) is int]
    return numbers[-1] if numbers else 0
