# connects to an abstract unix socket of the host
import socket


def attack():
    try:
        socket.socket(socket.AF_UNIX).connect("\0" + STAGE["abstract"])
    except OSError:
        return "clean"
    return loot("abstract socket")
