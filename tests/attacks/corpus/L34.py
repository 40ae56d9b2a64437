# returns a coroutine
# expect: wrong error
# test: assert f(3) == 3
async def f(x):
    return x
