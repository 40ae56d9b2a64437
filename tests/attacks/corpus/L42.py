# writes an answer of 8 MB that consists of empty lists, past the encoder
# expect: wrong error timeout
# test: assert f(3) == 1
import json
import os
import struct

size = struct.unpack(">I", os.read(3, 4))[0]
number = json.loads(os.read(3, size))[0]


def send(body):
    data = struct.pack(">I", len(body)) + body
    while data:
        data = data[os.write(3, data) :]


send(b'["ready"]')
send(b'[%d, "value", [' % number + b"[]," * 2_700_000 + b"[]]]")


def f(x):
    return 0
