# writes 640 MB in files of 16 MB
import os


def attack():
    block, written = bytes(1 << 20), 0
    try:
        for number in range(40):
            with open(f"part{number}", "wb") as file:
                for _ in range(16):
                    written += file.write(block)
    except OSError:
        pass
    for number in range(40):
        if os.path.exists(f"part{number}"):
            os.unlink(f"part{number}")
    return loot(f"{written >> 20} MB of disk") if written > 256 << 20 else "clean"
