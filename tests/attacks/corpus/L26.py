# is wrong
# expect: wrong
# statuses: fail
# test: assert f(3) == 1
def f(x):
    return 0
