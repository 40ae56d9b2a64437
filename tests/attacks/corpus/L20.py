# raises an exception whose message has 50 MB
# expect: error
# test: assert f(3) == 0
def f(x):
    raise ValueError("x" * (50 << 20))
