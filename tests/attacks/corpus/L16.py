# asks for 800 GB
# expect: error
# test: assert f(3) == 0
def f(x):
    return [0] * 10**11
