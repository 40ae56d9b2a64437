# opens a file system context
def attack():
    return reachable(430, b"tmpfs\0", 0)
