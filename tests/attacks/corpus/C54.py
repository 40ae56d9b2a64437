# reads paths of the host in its mount table
def attack():
    try:
        with open("/proc/self/mountinfo") as file:
            text = file.read()
    except OSError:
        return "clean"
    return loot("mount table") if text else "clean"
