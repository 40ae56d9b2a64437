# a destructor loops when the interpreter shuts down
# expect: correct
# test: assert f(3) == 0
class Last:
    def __del__(self):
        while True:
            pass


last = Last()


def f(x):
    return 0
