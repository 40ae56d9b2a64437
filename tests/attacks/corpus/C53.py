# opens its own memory for writing through /proc, past page protections
def attack():
    try:
        open("/proc/self/mem", "r+b", buffering=0).close()
    except OSError:
        return "clean"
    return loot("/proc/self/mem")
