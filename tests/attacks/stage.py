"""The stage of the attacks: everything worth stealing or breaking, and the probes that tell.

All of it belongs to the user who runs the attacks: a directory of victims and canaries, a secret in
the environment, in memory and in an open descriptor, listening sockets, a file in /dev/shm.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PRECIOUS = "do not touch"


@dataclass
class Stage:
    """Paths and sockets; ``facts`` is what the attack programs are told."""

    root: Path
    facts: dict[str, object]
    servers: list[socket.socket]
    secret: str
    signals: list[int] = field(default_factory=list)

    def traces(self) -> list[str]:
        """Evidence left since the last call; what can be swept away is."""
        found = [f"signal {number}" for number in self.signals]
        self.signals.clear()
        for folder in ("canary", "home"):
            for path in sorted((self.root / folder).iterdir()):
                found.append(f"{folder}/{path.name}")
                path.unlink()
        victims = {p.name: p.read_text() for p in (self.root / "victim").iterdir()}
        if victims != {"precious": PRECIOUS}:
            found.append(f"victim directory holds {sorted(victims)}")
            (self.root / "victim" / "precious").write_text(PRECIOUS)
        found += [f"connection to {s.getsockname()!r}" for s in self.servers if _visited(s)]
        return found + [f"process {pid} survives" for pid in _daemons()]


@contextmanager
def set_stage(shm: Path, sources: list[Path]) -> Iterator[Stage]:
    """Build the stage, take it down at the end. ``shm`` is a file that another user may own."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tamis-stage-")))
        for name in ("canary", "home", "victim", "cwd"):
            (root / name).mkdir()
        (root / "victim" / "precious").write_text(PRECIOUS)
        (root / "hidden_tests.py").write_text("assert f(3) == 7919\n")
        secret = f"TAMIS-SECRET-{secrets.token_hex(8)}"
        os.environ.update(TAMIS_SECRET=secret, HOME=str(root / "home"))
        (root / "secret").write_text(secret)
        file = stack.enter_context((root / "secret").open())
        os.set_inheritable(file.fileno(), True)
        servers = [stack.enter_context(server) for server in _listen(root)]
        facts = {
            "canary": str(root / "canary"),
            "home": str(root / "home"),
            "victim": str(root / "victim"),
            "hidden": str(root / "hidden_tests.py"),
            "port": servers[0].getsockname()[1],
            "abstract": servers[1].getsockname()[1:].decode(),
            "socket": servers[2].getsockname(),
            "shm": str(shm),
            "interpreter": sys.executable,
            "sources": [str(path) for path in sources],
        }
        stage = Stage(root, facts, servers, secret)
        signal.signal(signal.SIGTERM, lambda number, _: stage.signals.append(number))
        yield stage


def _listen(root: Path) -> list[socket.socket]:
    """A TCP socket on the loopback address, an abstract unix socket, one with a path."""
    servers = [socket.socket()] + [socket.socket(socket.AF_UNIX) for _ in range(2)]
    servers[0].bind(("127.0.0.1", 0))
    servers[1].bind(f"\0tamis-{secrets.token_hex(8)}")
    servers[2].bind(str(root / "socket"))
    for server in servers:
        server.listen()
        server.setblocking(False)
    return servers


def _visited(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _daemons() -> list[int]:
    """Processes that carry the name of the corpus's daemon, in whatever namespace; ended here."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text() == "tamis-daemon\n":
                os.kill(int(path.parent.name), signal.SIGKILL)
                found.append(int(path.parent.name))
        except OSError:
            continue  # it ended meanwhile
    return found
