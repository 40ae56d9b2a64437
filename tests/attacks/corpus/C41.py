# makes an i386 system call from 64-bit code, past a filter that knows one ABI
import ctypes
import mmap


def attack():
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20 (getpid); int 0x80; ret
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return loot(f"i386 getpid says {answer}") if answer > 0 else "clean"
