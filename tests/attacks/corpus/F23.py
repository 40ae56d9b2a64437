# loops for ever and swallows whatever exception should stop it
# expect: timeout
# test: assert f(3) == 7919
def f(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
