# attaches to its parent as a debugger (PTRACE_SEIZE)
def attack():
    for parent in parents():
        if syscall(101, 0x4206, parent, 0, 0)[0] == 0:
            return loot("ptrace of the parent")
    return "clean"
