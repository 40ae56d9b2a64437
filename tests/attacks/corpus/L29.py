# is right on the first call and wrong afterwards
# expect: wrong
# statuses: pass fail
# test: assert f(3) == 3
# test: assert f(4) == 4
calls = []


def f(x):
    calls.append(x)
    return x if len(calls) == 1 else 0
