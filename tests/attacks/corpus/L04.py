# computes a power in C code that no signal interrupts
# expect: timeout error
# test: assert f(3) == 0
def f(x):
    return 10**10 ** (9 + x - x)
