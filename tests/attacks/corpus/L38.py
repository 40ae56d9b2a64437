# answers with values at the edges of what a number can be
# expect: correct
# test: assert str(f(0)) == "-0.0"
# test: assert f(1) != f(1)
# test: assert f(2) == 5e-324
# test: assert f(3) == 10**4000
# test: assert f(4) == float("-inf")
# test: assert type(f(5)) is bool
def f(x):
    return [-0.0, float("nan"), 5e-324, 10**4000, float("-inf"), True][x]
