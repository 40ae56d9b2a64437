"""Attack programs never run as root, and never where ``kill(-1)`` reaches anybody else.

As root the fence is a user id of its own; as an ordinary user it is a user namespace; both come
with a PID namespace, which also ends whatever an attack leaves behind. The attacks would be safe
behind it without a sandbox.
"""

from __future__ import annotations

import os
import subprocess
import sys

ATTACKER = "61777"  # no account has this number; nothing else on the machine runs under it
NAMESPACE = ["--pid", "--fork", "--kill-child", "--mount-proc"]
BECOME = ["setpriv", f"--reuid={ATTACKER}", f"--regid={ATTACKER}", "--clear-groups", "--"]
# The shell between keeps the program from being process 1 of its namespace, which no signal can
# kill; and what setpriv itself executes would still have root's way through closed directories.
SHELL = ["sh", "-c", '"$@"; exit $?', "sh"]


def fence() -> list[str]:
    """The command prefix that puts a program behind the fence.

    Raises RuntimeError for an ordinary user on a machine without user namespaces: there is no way
    to keep ``kill(-1)`` from this user's other processes.
    """
    if os.getuid() == 0:
        choices = [["unshare", *NAMESPACE, *BECOME, *SHELL], [*BECOME, *SHELL]]
    else:
        choices = [["unshare", "--user", "--map-current-user", *NAMESPACE, *SHELL]]
    for prefix in choices:
        if _works([*prefix, "true"]):
            return prefix
    raise RuntimeError("the attacks need root or user namespaces to be fenced in; run them as root")


def interpreter(prefix: list[str]) -> str:
    """A Python that can be executed behind the fence: this one, or the system's."""
    for path in (sys.executable, "/usr/bin/python3"):
        if _works([*prefix, path, "-c", "import sys; assert sys.version_info >= (3, 11)"]):
            return path
    raise RuntimeError(f"no Python >= 3.11 that user {ATTACKER} may execute: install python3")


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0
