# asks for the handle of a file
def attack():
    return reachable(303, -100, b".\0", 0, 0, 0)
