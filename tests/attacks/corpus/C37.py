# takes a descriptor out of another process
def attack():
    return reachable(438, -1, 0, 0)
