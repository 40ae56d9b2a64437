# compiles a literal so deep that the parser gives up
# expect: error
# test: assert f(3) == 3
def f(x):
    return eval("(" * 100_000 + "3" + ")" * 100_000)
