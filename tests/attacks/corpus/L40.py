# has a text that Python cannot decode as UTF-8 in its answer
# expect: wrong error
# test: assert f(3) == "a"
def f(x):
    return "\ud800" * 3
