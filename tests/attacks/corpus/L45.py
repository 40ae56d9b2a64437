# is correct and uses 40 threads at once, as it may
# expect: correct
# test: assert f(40) == 40
import threading


def f(number):
    barrier, met = threading.Barrier(number), []

    def meet():
        barrier.wait()
        met.append(1)

    threads = [threading.Thread(target=meet) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(met)
