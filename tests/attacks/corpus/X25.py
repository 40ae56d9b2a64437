# waits in a pipe that nobody writes to
# expect: timeout
import os


def attack():
    reader, writer = os.pipe()
    return os.read(reader, 1)
