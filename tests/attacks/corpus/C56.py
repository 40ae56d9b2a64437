# reads its parent's limits with prlimit64, which could also change them
import ctypes


def attack():
    limits = ctypes.create_string_buffer(16)
    for parent in parents():
        if syscall(302, parent, 9, 0, ctypes.addressof(limits))[0] == 0:
            return loot(f"limits of {parent}")
    return "clean"
