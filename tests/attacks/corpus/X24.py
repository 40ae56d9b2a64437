# maps its code again as writable and executable and carries on
# expect: correct
import mmap


def attack():
    mmap.mmap(-1, 4096, prot=7).write(b"\xc3" * 4096)
    return "clean"
