# writes an answer of 8 MB that consists of empty lists, past the encoder
# expect: error
# statuses: protocol
# test: assert f(3) == 1
import os
import struct
import sys


def send(body):
    data = struct.pack(">I", len(body)) + body
    while data:
        data = data[os.write(3, data) :]


def f(x):
    frame = sys._getframe()
    while "number" not in frame.f_locals:
        frame = frame.f_back
    number = frame.f_locals["number"]
    send(b'[[%d, "value", [' % number + b"[]," * 2_700_000 + b"[]]]]")
    return 0
