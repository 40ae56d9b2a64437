# creates a user namespace and a mount namespace of its own
def attack():
    return reachable(272, 0x10000000 | 0x20000)
