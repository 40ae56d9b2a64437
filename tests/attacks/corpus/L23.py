# returns 100,000 nested lists
# expect: wrong error
# test: assert f(3) == 0
def f(x):
    answer = []
    for _ in range(100_000):
        answer = [answer]
    return answer
