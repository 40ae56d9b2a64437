# ignores every signal and loops
# expect: timeout
# test: assert f(3) == 0
import signal


def f(x):
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        pass
