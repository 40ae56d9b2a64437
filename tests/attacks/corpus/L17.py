# is not Python
# expect: error unparsable
# test: assert f(3) == 0
def f(x:
    return 0
