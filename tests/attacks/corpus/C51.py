# sets the clock to the time that it shows
import time


def attack():
    try:
        time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))
    except OSError:
        return "clean"
    return loot("the clock")
