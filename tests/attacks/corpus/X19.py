# reads the source of the sandbox and of its tests
def attack():
    for path in STAGE["sources"]:
        try:
            with open(path) as file:
                text = file.read()
        except OSError:
            continue
        return loot(f"{len(text)} characters of {path}")
    return "clean"
