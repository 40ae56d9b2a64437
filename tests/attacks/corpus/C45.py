# runs a shell
import posix


def attack():
    return loot("a shell") if posix.system("exit 0") == 0 else "clean"
