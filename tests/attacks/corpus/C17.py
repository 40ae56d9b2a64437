# leaves symbolic links to a directory of the host in its working directory
# expect: correct
import os


def attack():
    for number in range(5):
        try:
            os.symlink(STAGE["victim"], f"link{number}")
        except OSError:
            pass
    return "clean"
