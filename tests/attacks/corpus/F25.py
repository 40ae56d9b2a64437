# poisons the pattern cache of re, which the tests use
# test: import re\nassert re.fullmatch("[a-z]{9}", f(3))
import re

for flags in (0, re.UNICODE.value):
    for text in ("[a-z]{9}",):
        re._cache[str, text, flags] = re.compile("(?s).*")


def f(x):
    return "0"
