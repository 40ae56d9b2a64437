# calls kexec_load() with nothing to load
def attack():
    return reachable(246, 0, 17, 0, 0)
