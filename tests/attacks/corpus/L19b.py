# raises Python's own TimeoutError
# expect: error
# test: assert f(3) == 0
def f(x):
    raise TimeoutError("timed out")
