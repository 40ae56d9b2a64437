# answers 3.0 where 3 is expected: equal, as Python's assert says
# expect: correct
# test: assert f(3) == 3
def f(x):
    return 3.0
