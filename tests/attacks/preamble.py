# What every attack program may use; the loader puts it before the program, after STAGE.
import os

SECRET = "TAMIS-" + "SECRET"  # what every secret of the stage begins with


def loot(what):
    """Show by every way out that the box leaks."""
    print("LOOT", what, flush=True)
    raise RuntimeError(f"LOOT {what}")


def parents():
    """Processes that a program might harm: the one above it and the first of all."""
    return [pid for pid in {os.getppid(), 1} if pid not in (0, os.getpid())]


def syscall(number, *arguments):
    """Make an x86-64 system call past Python and libc; the result and errno."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    ctypes.set_errno(0)
    words = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    return libc.syscall(ctypes.c_long(number), *words), ctypes.get_errno()


def reachable(number, *arguments):
    """Loot unless a filter answers the call: not permitted, or no such call."""
    result, error = syscall(number, *arguments)
    return "clean" if result < 0 and error in (1, 38) else loot(f"syscall {number}: {error}")


def opened(family):
    """Loot if a socket of the family can be made."""
    import socket

    for kind in (socket.SOCK_STREAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        try:
            socket.socket(family, kind).close()
        except OSError:
            continue
        return loot(f"socket of family {family}")
    return "clean"
