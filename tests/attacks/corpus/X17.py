# binds a port
import socket


def attack():
    try:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
    except OSError:
        return "clean"
    return loot("a listening port")
