# reads /etc/passwd
def attack():
    try:
        with open("/etc/passwd") as file:
            text = file.read()
    except OSError:
        return "clean"
    return loot(text[:20])
