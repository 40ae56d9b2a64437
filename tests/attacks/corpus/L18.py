# replaces the clocks and burns CPU time, which is measured outside
# expect: correct
# test: assert f(3) == 0
# burns: 0.2
import time

clock = time.process_time
time.time = time.monotonic = time.perf_counter = time.process_time = lambda: 0.0


def f(x):
    end = clock() + 0.25
    while clock() < end:
        pass
    return 0
