# forks up to 300 children that live one second
import os
import time


def attack():
    born = 0
    try:
        for _ in range(300):
            if os.fork() == 0:
                time.sleep(1)
                os._exit(0)
            born += 1
    except OSError:
        pass
    return loot(f"{born} children") if born else "clean"
