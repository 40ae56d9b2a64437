# lists the other processes in /proc
import os


def attack():
    try:
        others = [n for n in os.listdir("/proc") if n.isdigit() and int(n) != os.getpid()]
    except OSError:
        return "clean"
    return loot(f"processes {others[:5]}") if others else "clean"
