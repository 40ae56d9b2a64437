# sends a datagram without a connection
import socket


def attack():
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", ("127.0.0.1", STAGE["port"]))
    except OSError:
        return "clean"
    return loot("a datagram")
