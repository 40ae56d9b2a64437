# writes through the descriptors that it was given, to find one that leads outside
import os
import stat


def attack():
    for descriptor in range(200):
        try:
            kind = os.fstat(descriptor).st_mode
        except OSError:
            continue
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISBLK(kind):
            return loot(f"descriptor {descriptor}: {oct(kind)}")
    return "clean"
