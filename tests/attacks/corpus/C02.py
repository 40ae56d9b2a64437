# allocates and touches up to 1.5 GB, three times its limit
def attack():
    blocks = []
    for _ in range(24):
        blocks.append(bytearray(64 << 20))
        blocks[-1][::4096] = b"\1" * (16 << 10)
    return loot("1.5 GB of memory")
