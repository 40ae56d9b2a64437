# sums a range in C code
# expect: timeout
# test: assert f(3) == 0
def f(x):
    return sum(range(10**15))
