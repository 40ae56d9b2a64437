# connects to a service on 127.0.0.1
import socket


def attack():
    try:
        socket.create_connection(("127.0.0.1", STAGE["port"]), timeout=1).close()
    except OSError:
        return "clean"
    return loot("loopback TCP")
