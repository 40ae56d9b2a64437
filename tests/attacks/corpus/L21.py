# returns a string of 200 MB
# expect: wrong error timeout
# test: assert f(3) == 0
def f(x):
    return "x" * (200 << 20)
