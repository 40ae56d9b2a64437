# reads its parent's memory with process_vm_readv
def attack():
    return reachable(310, 1, 0, 0, 0, 0, 1)
