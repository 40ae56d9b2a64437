# reads the environment, the memory and the maps of its parents
def attack():
    for parent in parents():
        for name in ("environ", "mem", "maps"):
            try:
                with open(f"/proc/{parent}/{name}", "rb") as file:
                    found = name == "mem" or file.read(100)
            except OSError:
                continue
            if found:
                return loot(f"{name} of {parent}")
    return "clean"
