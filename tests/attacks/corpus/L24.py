# returns an integer of 10 MB
# expect: wrong error
# test: assert f(3) == 0
def f(x):
    return 1 << (80 << 20)
