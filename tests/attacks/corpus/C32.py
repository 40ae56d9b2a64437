# opens a file by its handle
def attack():
    return reachable(304, -1, 0, 0)
