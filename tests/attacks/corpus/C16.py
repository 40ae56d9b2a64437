# leaves a daemon behind: double fork, new session
import ctypes
import os
import time


def attack():
    try:
        child = os.fork()
    except OSError:
        return "clean"
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            name = ctypes.create_string_buffer(b"tamis-daemon")
            syscall(157, 15, ctypes.addressof(name), 0, 0)
            for descriptor in range(64):
                try:
                    os.close(descriptor)
                except OSError:
                    pass
            time.sleep(3)
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.05)
    return "clean"
