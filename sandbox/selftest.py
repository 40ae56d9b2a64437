"""Programs of our own that try to escape, to forge a verdict, and to be honest.

An escape prints ``open`` if it got anywhere and ``closed`` if not. A forgery must not be judged
correct. An honest program must be. About 0.3 s in all; run it at the start of a long job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.box import Sandbox
from sandbox.outcomes import Outcome
from sandbox.programs import Limits, Program, StdioTest

_QUICK = Limits(cpu_s=2.0, test_cpu_s=1.0)
_TRY = """import os, socket, signal, ctypes
def attempt():
    {body}
try:
    print("open" if attempt() else "closed")
except (OSError, AttributeError):
    print("closed")
"""
_ESCAPES = {
    "read a host file": 'return open("/etc/passwd").read()',
    "see the host's processes": 'return os.path.exists("/proc/self") and os.listdir("/proc/1")',
    "see home directories": 'return os.listdir("/root") or os.listdir("/home")',
    "write to the system": 'return open("/usr/it", "w")',
    "make a socket": "return socket.socket()",
    "fork": "return os.fork() >= 0",
    "execute": 'return os.execv("/usr/bin/id", ["id"])',
    "signal others": "return os.kill(os.getppid() or -1, 0) is None",
    "become root": "return os.setuid(0) is None",
    "mount": 'return not ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, 0)',
    "find the caller's environment": "return set(os.environ) - {'PATH', 'LANG', 'LC_CTYPE', 'TZ',"
    " 'PYTHONHASHSEED', 'PYTHONUTF8', 'MALLOC_ARENA_MAX', 'LD_BIND_NOW'}",
}
_FORGERIES = {
    "exit with 0": "import os\ndef add(a, b):\n    os._exit(0)\n",
    "equal to all": "class E(int):\n    def __eq__(s, o):\n        return True\n"
    "def add(a, b):\n    return E()\n",
    "exit on import": "raise SystemExit(0)\n",
    "print the verdict": "def add(a, b):\n    print('passed')\n",
    "answer ahead": """import os
for number in range(3, 9):
    try:
        os.write(number, b'\\0\\0\\0\\x10[1, "value", 3]  ')
    except OSError:
        pass
def add(a, b):
    return 0
""",
    "look for the answer": "import gc, sys\ndef add(a, b):\n"
    "    f = sys._getframe()\n    while f:\n        for v in f.f_locals.values():\n"
    "            if v == 305419896:\n                return v\n        f = f.f_back\n"
    "    return next((o for o in gc.get_objects() if o == 305419896), 0)\n",
}
_ADD = "def add(a, b):\n    return a + b\n"
_WANTED = ("assert add(305419000, 896) == 305419896",)
_HONEST = (
    Program("calls", _ADD, tests=_WANTED, limits=_QUICK),
    Program("split", _ADD, tests=("for i in range(3):\n    assert add(i, 1) == i + 1",)),
    Program("inline", _ADD, tests=_WANTED, mode="inline"),
    Program("stdio", "print(int(input()) * 2)", tests=(StdioTest("21", "42"),)),
    Program("own files", "open('/dev/null', 'w').write('x')\n" + _ADD, tests=_WANTED),
)


@dataclass(frozen=True)
class Finding:
    """One group: how many programs ended as they should, and the names of those that did not."""

    group: str
    good: int
    total: int
    bad: tuple[str, ...]


def run_selftest(box: Sandbox) -> list[Finding]:
    """Try everything on an open sandbox."""
    shut = (StdioTest("", "closed"),)
    escapes = [
        Program(name, _TRY.format(body=body), tests=shut, limits=_QUICK)
        for name, body in _ESCAPES.items()
    ]
    forgeries = [Program(n, code, tests=_WANTED, limits=_QUICK) for n, code in _FORGERIES.items()]
    return [
        _judge("escapes contained", list(box.run(escapes)), lambda o: o.verdict == "correct"),
        _judge("forgeries rejected", list(box.run(forgeries)), _is_rejected),
        _judge("honest programs passed", list(box.run(_HONEST)), lambda o: o.verdict == "correct"),
    ]


def _is_rejected(outcome: Outcome) -> bool:
    return outcome.verdict not in ("correct", "infra")


def _judge(group: str, outcomes: list[Outcome], is_good: Callable[[Outcome], bool]) -> Finding:
    bad = tuple(outcome.id for outcome in outcomes if not is_good(outcome))
    return Finding(group, len(outcomes) - len(bad), len(outcomes), bad)
