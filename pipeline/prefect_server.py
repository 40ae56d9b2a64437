"""The process of Prefect's API server. Run by path, with a socket's number and the parent's pid.

It asks the kernel to be killed when its parent ends (PR_SET_PDEATHSIG), however that ends.
"""

import ctypes
import os
import signal
import socket
import sys

_PR_SET_PDEATHSIG = 1


def serve(listener: int, parent: int) -> None:
    """Answer on the bound socket of file descriptor `listener` while process `parent` lives."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we could ask
        return
    import uvicorn

    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on"
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listener)])


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
