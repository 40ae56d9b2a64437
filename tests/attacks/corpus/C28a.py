# opens a socket of the kernel's crypto interface
def attack():
    return opened(38)
