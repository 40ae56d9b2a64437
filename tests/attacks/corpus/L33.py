# has only comments
# expect: error
# test: assert f(3) == 3
