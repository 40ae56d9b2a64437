# calls bpf()
def attack():
    return reachable(321, 0x7FFF, 0, 0)
