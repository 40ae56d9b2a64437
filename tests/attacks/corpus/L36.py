# prints, closes its outputs and loops; the print is kept
# expect: timeout
# keeps: seen before the end
# test: assert f(3) == 3
import os
import sys

print("seen before the end", flush=True)
sys.stdout.close()
os.close(1)
os.close(2)


def f(x):
    while True:
        pass
