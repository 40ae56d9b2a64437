# mounts a file system
import ctypes as c


def attack():
    failed = c.CDLL(None).mount(b"none", b".", b"tmpfs", 0, None)
    return "clean" if failed else loot("mount")
