# replaces its working directory by a symbolic link to a directory of the host
# expect: correct
import os


def attack():
    here = os.getcwd()
    try:
        os.chdir("/")
        os.rename(here, here + "-moved")
        os.symlink(STAGE["victim"], here)
    except OSError:
        pass
    try:
        os.rmdir(here)
        os.symlink(STAGE["victim"], here)
    except OSError:
        pass
    return "clean"
