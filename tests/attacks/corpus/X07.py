# leaves a file that unpacks to a thousand times its size
# expect: correct
import zlib


def attack():
    try:
        with open("result.json.gz", "wb") as file:
            file.write(zlib.compress(bytes(16 << 20), 9))
    except OSError:
        pass
    return "clean"
