# leaves an executable behind and runs it
import os


def attack():
    try:
        with open("run", "w") as file:
            file.write("#!/bin/sh\nexit 0\n")
        os.chmod("run", 0o755)
        if os.spawnv(os.P_WAIT, "./run", ["run"]) == 0:
            return loot("an executable of its own")
    except OSError:
        pass
    return "clean"
