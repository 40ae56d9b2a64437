# returns an exception class, a generator and a lambda in turn instead of a value
answers = [AssertionError("never mind"), (n for n in [7919]), lambda: 7919]


def f(x):
    return answers[x % 3]
