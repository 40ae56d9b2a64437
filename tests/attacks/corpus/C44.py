# looks for limits that are not set
import resource


def attack():
    for name in ("RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_CORE"):
        if resource.getrlimit(getattr(resource, name))[1] == resource.RLIM_INFINITY:
            return loot(name)
    return "clean"
