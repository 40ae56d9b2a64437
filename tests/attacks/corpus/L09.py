# reads from an input that is not there
# expect: error
# test: assert f(3) == 0
def f(x):
    return input()
