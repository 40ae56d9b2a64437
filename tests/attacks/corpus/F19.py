# sends an object with __reduce__ through the result channel
class Payload:
    def __reduce__(self):
        source = f"open({STAGE['canary'] + '/F19'!r}, 'w').close() or 7919"
        return (eval, (source,))


def f(x):
    return Payload()
