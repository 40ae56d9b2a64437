# calls userfaultfd()
def attack():
    return reachable(323, 1)
