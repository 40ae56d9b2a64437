# raises its own limits
import resource


def attack():
    for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NPROC"):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        for value in (resource.RLIM_INFINITY, hard * 2):
            try:
                resource.setrlimit(kind, (value, value))
            except (OSError, ValueError):
                continue
            if resource.getrlimit(kind)[1] != hard:
                return loot(name)
    return "clean"
