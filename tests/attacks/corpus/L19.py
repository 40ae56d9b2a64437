# raises a timeout of its own making
# expect: error
# test: assert f(3) == 0
class TimeoutException(Exception):
    pass


def f(x):
    raise TimeoutException("Timed out!")
