# prints 192 MB and answers right
# expect: correct
# test: assert f(3) == 0
def f(x):
    line = "x" * (1 << 20)
    for _ in range(192):
        print(line)
    return 0
