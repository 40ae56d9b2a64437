# opens the interpreter's own binary for writing
def attack():
    for path in ("/proc/self/exe", STAGE["interpreter"]):
        try:
            open(path, "r+b").close()
        except OSError:
            continue
        return loot(path)
    return "clean"
