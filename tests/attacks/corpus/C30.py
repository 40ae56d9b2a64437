# changes its personality
def attack():
    return reachable(135, 0xFFFFFFFF)
