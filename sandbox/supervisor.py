"""Slots as the supervisor sees them: starting one at a tier, asking it for processes, ending it.

Tiers, strongest first: "A" own namespaces; "A-" the same from bubblewrap, once per slot; "B"
Landlock and seccomp only. A slot that starts has done all its tier promises and has run a self-test
inside a real jail; a tier that cannot be had is refused, never weakened.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from sandbox.orders import ROLES, SPAWN, STARTED
from sandbox.programs import Limits

_START_S = 60.0
_REMEDY = (
    "permit unprivileged user namespaces for tier A (an AppArmor profile with 'userns,' for the "
    "interpreter, or sysctl kernel.apparmor_restrict_unprivileged_userns=0), install bubblewrap "
    "for A-, use a kernel with Landlock (5.13 or newer) for B, or run in a virtual machine"
)
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "LD_BIND_NOW": "1",  # or each child looks up, for itself, the C functions it calls
    "MALLOC_ARENA_MAX": "1",  # each arena takes 64 MB of address space, and threads have their own
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TZ": "UTC0",
}
# The package's directory is its only way in: no site, no current directory, no __init__.
_BOOT = """import sys, types
package = types.ModuleType("sandbox")
package.__path__ = [sys.argv[1]]
sys.modules["sandbox"] = package
sys.path[:] = [place for place in sys.path if place]
from sandbox import zygote
zygote.main(int(sys.argv[2]), sys.argv[3])
"""


class SandboxUnavailable(RuntimeError):
    """The machine cannot give the required tier; the message says why and what to do."""


def refuse(tier: str | None, reasons: dict[str, str]) -> SandboxUnavailable:
    """The error for a tier that cannot be had, with each tier's reason and the remedy."""
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    wanted = f"tier {tier}" if tier else "a sandbox of any tier"
    return SandboxUnavailable(f"cannot give {wanted} here ({why}); {_REMEDY}")


class SlotLost(Exception):
    """The slot broke or was ended: never the program's fault."""


def default_python() -> str:
    """The interpreter for programs: the system's, or the one this virtual environment stands on."""
    system = Path("/usr/bin/python3")
    return str(system) if system.exists() else getattr(sys, "_base_executable", sys.executable)


def _bubblewrap(python: str) -> list[str]:
    """The command that hosts a slot; never as root, where /proc/sys would stay writable."""
    found = shutil.which("bwrap")
    if found is None or os.getuid() == 0:
        raise SlotLost("bubblewrap is not installed" if found is None else "not as root")
    shown = {"/usr", str(Path(python).resolve().parent.parent), str(Path(__file__).parent)}
    command = [found, "--unshare-user", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--die-with-parent", "--cap-drop", "ALL", "--dev", "/dev", "--tmpfs", "/tmp"]
    for path in sorted(shown):
        command += ["--ro-bind", path, path]
    for name in ("/bin", "/lib", "/lib64"):
        if Path(name).is_symlink():
            command += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).is_dir():
            command += ["--ro-bind", name, name]
    return command


class Slot:
    """One zygote process; a conversation with it belongs to one thread at a time."""

    def __init__(self, python: str, tier: str) -> None:
        """Start it; raises SlotLost if the interpreter or the machine will not."""
        self.tier = tier
        self.programs = 0
        host = _bubblewrap(python) if tier == "A-" else []
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here = str(Path(__file__).parent)
        number = theirs.fileno()
        try:
            self._process = subprocess.Popen(
                [*host, python, "-s", "-S", "-B", "-c", _BOOT, here, str(number), tier],
                env=_ENVIRONMENT,
                cwd="/",
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self.control.close()
            raise SlotLost(f"cannot start {python}: {error}") from None
        finally:
            theirs.close()
        self._greet(python)

    def _greet(self, python: str) -> None:
        """Wait until it is warm."""
        self.control.settimeout(_START_S)
        try:
            word = self.hear()
        except (SlotLost, TimeoutError):
            self._process.kill()
            assert self._process.stderr is not None  # it is a pipe
            last = self._process.stderr.read(4096).decode(errors="replace").strip()
            word = f"u{python} ended at once: {last[-300:] or 'no message'}".encode()
        if word != b"r":
            self.close()
            raise SlotLost(word[1:].decode(errors="replace"))
        self.control.settimeout(None)

    def spawn(self, role: str, limits: Limits, descriptors: list[int]) -> None:
        """Ask for a jailed process with these as its descriptors 0, 1, 2, ..."""
        sizes = (limits.memory_mb, limits.disk_mb, limits.files, limits.file_mb, limits.threads)
        request = SPAWN.pack(b"S", ROLES.index(role), limits.cpu_s, *sizes)
        try:
            socket.send_fds(self.control, [request], descriptors)
        except OSError as error:
            raise SlotLost(f"the slot is gone: {error}") from None

    def kill(self, pid: int) -> None:
        """Ask for the end of a process; its report follows."""
        with contextlib.suppress(OSError):
            self.control.send(STARTED.pack(b"k", pid))

    def hear(self) -> bytes:
        """The slot's next message (`orders`); raises SlotLost when there will be none."""
        try:
            body = self.control.recv(4096)
        except ConnectionError as error:
            raise SlotLost(f"the slot is gone: {error}") from None
        if not body:
            raise SlotLost("the slot is gone")
        if body[:1] == b"b":
            raise SlotLost(f"the jail failed: {body[1:].decode(errors='replace')}")
        return body

    def abort(self) -> None:
        """End it from any thread, with everything in it; whoever talks to it sees SlotLost."""
        self._process.kill()

    def close(self) -> None:
        """End it and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self.control.close()
        if self._process.stderr is not None:
            self._process.stderr.close()
