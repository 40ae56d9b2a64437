# changes the CPU affinity of its parent to what it is
import os


def attack():
    for parent in parents():
        try:
            os.sched_setaffinity(parent, os.sched_getaffinity(parent))
        except OSError:
            continue
        return loot(f"affinity of {parent}")
    return "clean"
