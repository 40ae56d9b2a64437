# opens the kernel's levers for writing, and writes nothing
import os

LEVERS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/release_agent",
)


def attack():
    for path in LEVERS:
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError:
            continue
        return loot(path)
    return "clean"
