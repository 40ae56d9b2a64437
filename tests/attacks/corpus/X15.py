# replaces the modules that a judge might use for its answers
# expect: wrong error
import json
import os
import pickle
import socket
import struct

json.dumps = json.loads = lambda *_, **__: "pass"
json.JSONEncoder.encode = lambda *_: '["pass"]'
pickle.dumps = lambda *_: b"pass"
struct.pack = lambda *_: b"pass"


def attack():
    return 0
