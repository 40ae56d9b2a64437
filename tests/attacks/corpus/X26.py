# sets an alarm and a handler that stop the clock of a judge inside the process
# expect: timeout
import signal


def attack():
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGXCPU, lambda *_: None)
    while True:
        pass
