# loops for ever and swallows whatever exception should stop it
# expect: timeout
def f(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
