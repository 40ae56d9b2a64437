# reads address zero
# expect: error
# test: assert f(3) == 0
import ctypes


def f(x):
    return ctypes.string_at(0)
