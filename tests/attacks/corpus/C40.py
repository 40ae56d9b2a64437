# starts 600 threads
import threading


def attack():
    stop, started = threading.Event(), 0
    threading.stack_size(65536)
    try:
        for _ in range(600):
            threading.Thread(target=stop.wait, daemon=True).start()
            started += 1
    except RuntimeError:
        pass
    stop.set()
    return loot(f"{started} threads") if started >= 500 else "clean"
