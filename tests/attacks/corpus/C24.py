# opens an io_uring, whose requests pass by system call filters
def attack():
    return reachable(425, 1, 0)
