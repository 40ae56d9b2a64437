# calls perf_event_open()
def attack():
    return reachable(298, 0, 0, -1, -1, 0)
