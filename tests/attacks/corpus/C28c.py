# opens a socket to the hypervisor, which no namespace confines
def attack():
    return opened(40)
