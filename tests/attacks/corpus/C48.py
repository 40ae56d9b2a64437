# connects to a unix socket of the host by its path
import socket


def attack():
    try:
        socket.socket(socket.AF_UNIX).connect(STAGE["socket"])
    except OSError:
        return "clean"
    return loot("unix socket")
