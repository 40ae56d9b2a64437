# makes a system call with an x32 number
def attack():
    answer, _ = syscall(0x40000000 | 39)
    return loot(f"x32 getpid says {answer}") if answer > 0 else "clean"
