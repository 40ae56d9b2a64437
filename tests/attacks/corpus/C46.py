# writes into the home directory
import os


def attack():
    for home in (os.path.expanduser("~"), STAGE["home"]):
        try:
            with open(os.path.join(home, ".tamis-C46"), "w") as file:
                file.write("# run at the next start")
        except OSError:
            pass
    return "clean"
