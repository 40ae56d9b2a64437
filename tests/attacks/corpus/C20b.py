# looks for the System V memory segment of the program before it, and removes it
def attack():
    segment, _ = syscall(29, 0x7A415, 4096, 0)
    if segment < 0:
        return "clean"
    syscall(31, segment, 0, 0)
    return loot("the segment of another program")
