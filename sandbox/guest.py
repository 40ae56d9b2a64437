"""What runs inside the jail, after the walls are up: one role per process.

calls   loads the program (descriptor 3), then answers calls on it: values out, never verdicts
script  runs the program as ``__main__`` on real stdin and stdout
tester  runs test code; the program's functions are proxies to a "calls" process (descriptor 4)
inline  runs the program and its tests in one namespace; what it reports is only half believed
native, hosted, build   what is not Python (`binaries`)

Everything here shares the process with hostile code, so nothing it says is trusted beyond being the
program's (or, for a tester, the test author's) own answer.
"""

from __future__ import annotations

import _sitebuiltins
import atexit
import builtins
import contextlib
import gc
import os
import random
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from sandbox import binaries, judging
from sandbox.frames import frame, has_too_many_parts, pack, read_message, write_all
from sandbox.syscalls import Step, take
from sandbox.wire import NotPlainData, decode, encode

_CHANNEL, _LINK = 3, 4
_MESSAGE = 300  # characters of an exception's message that travel
_LARGE = 1 << 16  # bytes of answers to send together
_REHEARSALS = 50  # Python 3.11 specialises what has run 8 times or more, in steps
_REHEARSED = "from typing import List\n\ndef f(x: List[int]) -> int:\n    return sum(x)\n"
_exit = os._exit


def furnish() -> None:
    """Make the slot's interpreter what every program shall find."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    random.seed(0)
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))


def rehearse() -> None:
    """Play the commonest role in the slot itself, to a harmless job, until Python is warm.

    What the interpreter caches and specialises on the way, children then inherit; otherwise each of
    them would do it again and, doing so, copy the pages it is written to.
    """
    job = pack({"code": _REHEARSED, "result_bytes": 1000, "questions": [[[1, "f", [[1]], {}]]]})
    kept = os.dup(_CHANNEL)
    for _ in range(_REHEARSALS):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            os.dup2(theirs.fileno(), _CHANNEL)
            ours.sendall(job)
            _answer_calls()
    os.dup2(kept, _CHANNEL)
    os.close(kept)
    del sys.modules["solution"]


def try_walls(steps: list[Step], *, namespaces: bool) -> None:
    """Enter the jail and write to descriptor 0 whether its walls are closed, or which is open."""
    answer = "closed"
    try:
        take(steps)
        walls: dict[str, Callable[[], object]] = {
            "system calls": socket.socket,
            "files": lambda: os.open("/etc/passwd", os.O_RDONLY),
            "processes": os.fork,
            "executing": lambda: os.execv("/usr/bin/env", ["env"]),
            "user": lambda: os.setuid(0),
        }
        for name, attempt in walls.items():
            with contextlib.suppress(OSError):
                attempt()
                answer = f"{name}: open"
        if namespaces:
            os.write(os.open("/tmp/it", os.O_CREAT | os.O_WRONLY), b"writable")
            answer = answer if os.getpid() == 1 else "processes: visible"
    except OSError as error:
        answer = str(error)
    os.write(0, answer.encode())


def run(role: str) -> NoReturn:
    """Play a role to its end; no finaliser, thread or exit hook can keep the process alive."""
    roles = {"calls": _answer_calls, "script": _run_script, "tester": _test, "inline": _inline}
    roles |= {"native": binaries.become, "hosted": binaries.become, "build": binaries.build}
    gc.enable()
    code = 1
    with contextlib.suppress(BaseException):
        code = roles[role]()
    _exit(code)


def _new_module(name: str) -> types.ModuleType:
    """An empty module that imports, dataclasses and pickles inside the jail can find."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def _describe(error: BaseException) -> list[str]:
    """An exception as two bounded strings, whatever its author made of ``__str__``."""
    try:
        message = str(error)[:_MESSAGE]
    except BaseException:
        message = ""
    return [type(error).__name__[:_MESSAGE], message]


def _flush() -> None:
    """Push out what was printed, whatever the program made of its streams."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()


def _load(code: str, name: str) -> types.ModuleType:
    """Run the program's code in a module of its own."""
    module = _new_module(name)
    exec(compile(code, f"{name}.py", "exec"), module.__dict__)
    return module


def _load_solution(code: str) -> types.ModuleType | None:
    """Load the program and say so, or say what it raised."""
    try:
        module = _load(code, "solution")
    except BaseException as error:
        _flush()
        write_all(_CHANNEL, pack(["broken", *_describe(error)]))
        return None
    write_all(_CHANNEL, pack(["ready"]))
    return module


def _answer_calls() -> int:
    """Load, then answer the job's questions, or a tester's until it hangs up."""
    job = read_message(_CHANNEL)
    module = _load_solution(job["code"])
    if module is None:
        return 0
    for questions in job["questions"] if "questions" in job else _read_questions():
        _reply(module, questions, job["result_bytes"])
    return 0


def _read_questions() -> Iterator[list[Any]]:
    """What a tester asks, one at a time."""
    with contextlib.suppress(EOFError):
        while True:
            yield [read_message(_CHANNEL)]


def _reply(module: types.ModuleType, questions: list[Any], most: int) -> None:
    """Answer one test's questions, in as few frames as fit, each a list of answers."""
    replies: list[bytes] = []
    room = most
    for number, name, arguments, keywords in questions:
        reply = pack([number, *_answer(module, name, arguments, keywords)])
        if len(reply) > most:
            reply = pack([number, "opaque", f"an answer of {len(reply)} bytes"])
        elif has_too_many_parts(reply):
            reply = pack([number, "opaque", "an answer of too many parts"])
        if len(reply) > room:
            write_all(_CHANNEL, frame(b"[%b]" % b",".join(replies)))
            replies, room = [], most
        replies.append(reply[4:])
        room = min(room, _LARGE) - len(reply)
    _flush()
    write_all(_CHANNEL, frame(b"[%b]" % b",".join(replies)))


def _answer(module: types.ModuleType, name: str, arguments: Any, keywords: Any) -> list[Any]:
    try:
        function = _find(module, name)
        value = function(*map(decode, arguments), **{k: decode(v) for k, v in keywords.items()})
    except BaseException as error:
        return ["raised", *_describe(error)]
    try:
        return ["value", encode(value, iterators=True)]
    except NotPlainData as error:
        return ["opaque", str(error)[:_MESSAGE]]
    except BaseException as error:
        return ["raised", *_describe(error)]


def _find(module: types.ModuleType, name: str) -> Any:
    """Resolve ``f`` or ``Class().method``; the instance is new for each call."""
    owner, made, method = name.partition("().")
    try:
        found = module.__dict__[owner]
    except KeyError:
        raise NameError(f"name {owner!r} is not defined") from None
    return getattr(found(), method) if made else found


def _run_script() -> int:
    """Run as a program: its output and exit status are the whole result."""
    code = read_message(_CHANNEL)["code"]
    os.close(_CHANNEL)
    sys.argv = ["main.py"]
    status = 0
    try:
        _load(code, "__main__")
    except SystemExit as error:
        status = _exit_status(error.code)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # wait for the program's threads
        atexit._run_exitfuncs()
    _flush()
    return status


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    with contextlib.suppress(BaseException):
        sys.stderr.write(f"{code}\n")
    return 1


def _test() -> int:
    """Run test code against proxies; the program is on the other end of _LINK."""
    job = read_message(_CHANNEL)
    link = judging.Link(_LINK)
    greeting = link.greet()
    write_all(_CHANNEL, pack(greeting))
    if greeting[0] != "ready":
        return 0
    for test in job["tests"]:
        result = judging.run_split(test, job["entry"], link)
        write_all(_CHANNEL, pack([test["index"], *result]))
        if link.lost:
            break
    return 0


def _inline() -> int:
    """Run the program, then each test in the program's own namespace."""
    job = read_message(_CHANNEL)
    module = _load_solution(job["code"])
    if module is None:
        return 0
    for test in job["tests"]:
        result = judging.run_inline(test, job["entry"], module)
        _flush()
        write_all(_CHANNEL, pack([test["index"], *result]))
    return 0
