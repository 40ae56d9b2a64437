# prints terminal escapes, NULs and bytes that are not UTF-8
# expect: correct
import os


def attack():
    os.write(1, b"\x1b[2J\x1b]0;title\x07\0\0\xff\xfe\xed\xa0\x80\r\r\n" * 100 + b"no end")
    return "clean"
