# signals its parent with tgkill, often forgotten beside kill
def attack():
    for parent in parents():
        if syscall(234, parent, parent, 0)[0] == 0:
            return loot(f"tgkill of {parent}")
    return "clean"
