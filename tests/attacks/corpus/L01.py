# loops for ever
# expect: timeout
# test: assert f(3) == 0
def f(x):
    while True:
        pass
