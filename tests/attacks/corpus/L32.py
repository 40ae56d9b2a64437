# has a number where the tests call a function
# expect: error
# test: assert f(3) == 3
f = 3
