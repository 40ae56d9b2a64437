# opens a netlink socket
def attack():
    return opened(16)
