# returns a list that contains itself
# expect: wrong error
# test: assert f(3) == 0
def f(x):
    answer = []
    answer.append(answer)
    return answer
