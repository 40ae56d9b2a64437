# answers with numbers that all have the same hash, for a test that makes a set of them
# expect: wrong error timeout
# test: assert set(f(3)) == {1}
# test: assert len(frozenset(f(4))) == 1
def f(x):
    return [n * (2**61 - 1) for n in range(80_000)]
