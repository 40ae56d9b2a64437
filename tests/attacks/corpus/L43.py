# answers with text that is long to print and short to send
# expect: wrong error timeout
# test: assert f(3) == 1
def f(x):
    return "\0" * 7_000_000
