"""What a process inside the jail does that is not to run Python: become a binary, or compile.

native  becomes the static executable in sealed memory on descriptor 4
hosted  becomes the interpreter on descriptor 4, which finds the program on descriptor 5
build   writes source files to /tmp, runs a compiler, copies its result to descriptor 4

Under the same walls as any program; what else these roles may do is in `seccomp` and `jail`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NoReturn

from sandbox.frames import pack, read_message, write_all

_CHANNEL, _EXECUTABLE = 3, 4
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "OPENSSL_CONF": "/dev/null",  # node gives up where it may not read the system's
    "PATH": "/usr/bin:/bin",
    "TMPDIR": "/tmp",
    "TZ": "UTC0",
}


def become() -> NoReturn:
    """Turn into the binary; unless it answers calls, the channel closes with that.

    Whoever waits on the channel hears "unfit" if the machine will not execute it.
    """
    job = read_message(_CHANNEL)
    os.set_inheritable(_CHANNEL, job["answers"])
    os.set_inheritable(_EXECUTABLE, False)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execve(_EXECUTABLE, job["arguments"], _ENVIRONMENT)
    except OSError as error:
        write_all(_CHANNEL, pack(["unfit", job["word"], str(error)]))
        os._exit(126)


def build() -> int:
    """Compile; the compiler's exit status and stderr are ours, its result goes to descriptor 4."""
    job = read_message(_CHANNEL)
    for name, text in job["files"].items():
        Path(name).write_text(text, encoding="utf-8", errors="surrogatepass")
    command = job["command"]
    child = os.posix_spawn(command[0], command, _ENVIRONMENT)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        return code if code > 0 else 128 - code
    with Path(job["result"]).open("rb") as result:
        while part := result.read(1 << 20):
            write_all(_EXECUTABLE, part)
    return 0
