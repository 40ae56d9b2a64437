# lowers its own limits, so that its failure looks like the machine's
# expect: error wrong timeout
import resource


def attack():
    for name in ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_STACK", "RLIMIT_CPU"):
        try:
            resource.setrlimit(getattr(resource, name), (0, 0))
        except (OSError, ValueError):
            pass
    return [0] * 10**8
