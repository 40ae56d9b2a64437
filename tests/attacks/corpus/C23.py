# adds a key to the kernel's keyring, which outlives the program
def attack():
    kind, name = b"user\0", b"tamis-key\0"
    return reachable(248, kind, name, b"x", 1, -2)
