# posix._exit(0) inside the called function: patching os changes nothing
import posix


def f(x):
    posix._exit(0)
