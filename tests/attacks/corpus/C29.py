# calls clone3(), whose flags a filter cannot see
def attack():
    return reachable(435, 0, 0)
