# leaves files wherever it may write
# expect: correct
import os


def attack():
    for folder in (".", "/tmp", "/dev/shm", "/var/tmp"):
        try:
            with open(os.path.join(folder, "tamis-C15"), "w") as file:
                file.write("left behind")
        except OSError:
            pass
    return "clean"
