# leaves a System V memory segment behind
def attack():
    segment, _ = syscall(29, 0x7A415, 4096, 0o1600)
    return loot("shmget") if segment >= 0 else "clean"
