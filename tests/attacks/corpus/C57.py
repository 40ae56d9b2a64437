# reads a world-readable file of another user in /dev/shm
def attack():
    try:
        with open(STAGE["shm"]) as file:
            text = file.read()
    except OSError:
        return "clean"
    return loot(text[:20])
