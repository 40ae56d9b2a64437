# has no function of the name that the tests call
# expect: error
# test: assert f(3) == 3
def g(x):
    return x
