# creates an anonymous memory file, which no address space limit counts
def attack():
    return reachable(319, b"x\0", 0)
