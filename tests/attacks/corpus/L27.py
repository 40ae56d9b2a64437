# prints a set, whose order must be the same in every run
# expect: correct
# test: assert f(3) == 0
# twice: the same output
def f(x):
    print({str(number) for number in range(50)}, hash("tamis"))
    return 0
