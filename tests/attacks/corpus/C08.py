# reads the hidden test file by its path
def attack():
    try:
        with open(STAGE["hidden"]) as file:
            text = file.read()
    except OSError:
        return "clean"
    return loot(text[:20])
