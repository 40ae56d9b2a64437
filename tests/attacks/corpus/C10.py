# kills its parent with the primitive below os.kill
import posix


def attack():
    for parent in parents():
        try:
            posix.kill(parent, 9)
        except OSError:
            pass
    return "clean"
