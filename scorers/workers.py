"""Killable worker processes for a pure function that may hang, crash or eat the memory.

Each worker is a fresh interpreter, so that it inherits neither threads nor locks, and works on one
item at a time. What limits it is the kernel: an interval timer over the CPU time of the process
(also while C code holds the interpreter lock), an address space limit, and death with its parent.
A worker over its limit is replaced; the other items never notice. The limit is CPU time, so that a
busy machine does not change a verdict; a generous wall clock catches what sleeps.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

_PR_SET_PDEATHSIG = 1
_START_S = 120.0  # wall, for a fresh interpreter and the imports of its function
_MAIN = "import sys; from scorers.workers import serve; serve(*sys.argv[1:])"


class Lost(NamedTuple):
    """In the place of a result: why there is none."""

    word: Literal["timeout", "error", "infra"]
    reason: str


_OUT_OF_MEMORY = Lost("timeout", "memory_limit")


class Workers:
    """Processes that apply the function named `module:name`; started when first needed.

    `cpu_s` and `wall_s` limit one item, `memory_bytes` the address space of a worker. The function
    takes and returns what pickles. `map` may be called from several threads at once.
    """

    def __init__(
        self,
        function: str,
        *,
        count: int = 2,
        cpu_s: float = 5.0,
        wall_s: float = 60.0,
        memory_bytes: int = 4 << 30,
    ) -> None:
        self._command = [function, str(cpu_s), str(memory_bytes)]
        self._wall_s = wall_s
        self._held = threading.local()  # each thread of the pool owns one worker
        self._alive: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="workers")

    def map(self, items: Sequence[Any]) -> list[Any]:
        """Return the result for each item in order, a `Lost` where there is none.

        An item that exceeds a limit is lost as "timeout", one that raises as "error". An item whose
        worker died of something else is tried once more on a fresh one, then lost as "infra".
        """
        return list(self._threads.map(self._once_or_twice, items))

    def close(self) -> None:
        """Kill the workers for good; items at work are lost as "infra"."""
        self._closed = True
        for process in list(self._alive):
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in list(self._alive):
            process.wait()
        self._alive.clear()

    def _once_or_twice(self, item: Any) -> Any:
        result = self._apply(item)
        if isinstance(result, Lost) and result.word == "infra" and not self._closed:
            result = self._apply(item)
        return result

    def _apply(self, item: Any) -> Any:
        """Send one item to this thread's worker; whatever goes wrong costs that worker its life."""
        process, pipe = self._worker()
        try:
            pipe.send(item)
            if pipe.poll(self._wall_s):
                lost, result = pipe.recv()
                return Lost(*result) if lost else result
            reason = "wall_limit"
        except (EOFError, OSError):
            reason = ""
        self._bury(process, pipe)
        if reason or process.returncode == -signal.SIGPROF:
            return Lost("timeout", reason or "cpu_limit")
        return Lost("infra", f"worker_died: status {process.returncode}")

    def _worker(self) -> tuple["subprocess.Popen[bytes]", Connection]:
        held = getattr(self._held, "worker", None)
        if held is None or held[0].poll() is not None:
            if held:
                self._bury(*held)
            held = self._held.worker = self._start()
        return held

    def _start(self) -> tuple["subprocess.Popen[bytes]", Connection]:
        ours, theirs = Pipe()
        root = str(Path(__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, sys.path)])
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(os.getpid()), *self._command],
            env=os.environ | {"PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
            process_group=0,  # Ctrl-C is for the parent
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self._alive.add(process)
        try:
            if ours.poll(_START_S):
                ours.recv()  # imports are done: the limits below are for the item alone
        except (EOFError, OSError):
            pass  # the first item finds it dead and reports how it died
        return process, ours

    def _bury(self, process: "subprocess.Popen[bytes]", pipe: Connection) -> None:
        process.kill()
        process.wait()
        pipe.close()
        self._alive.discard(process)
        self._held.worker = None


def serve(fd: str, parent: str, name: str, cpu_s: str, memory_bytes: str) -> None:
    """Answer items until the pipe closes. Runs in the worker, with its command line."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the line above
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    module, _, attribute = name.partition(":")
    function = getattr(import_module(module), attribute)
    pipe = Connection(int(fd))
    pipe.send("ready")
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        # No handler: the signal ends the process, whatever it is doing.
        signal.setitimer(signal.ITIMER_PROF, float(cpu_s))
        reply = _reply(function, item)
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send(reply)
        if reply[1] == _OUT_OF_MEMORY:
            return  # a fresh heap for the next item


def _reply(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    try:
        return False, function(item)
    except MemoryError:
        return True, _OUT_OF_MEMORY
    except Exception as error:
        return True, Lost("error", f"raised: {type(error).__name__}")
