# installs a system call filter of its own
def attack():
    return reachable(317, 2, 0, 0)
