"""C++: compiled by g++ in a jail, then started from sealed memory; static, C++17, -O2.

The compiler runs untrusted input too: ``#include`` and ``.incbin`` read files, so outside a jail a
program could compile the host's files, tests among them, into itself. It needs a private /tmp,
that is, tier A; in the other tiers C++ is refused. Compiling has limits of its own (`_COMPILING`),
and its CPU time is not the program's.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import threading
from collections import OrderedDict
from pathlib import Path

from sandbox.built import Built, scratch_memory
from sandbox.frames import pack
from sandbox.outcomes import TestResult
from sandbox.programs import Limits
from sandbox.runs import Run, Tally, run
from sandbox.stdio import Silent

_FLAGS = ("-std=c++17", "-O2", "-static", "-s", "-w", "-fmax-errors=3")
_COMPILING = Limits(
    cpu_s=30, test_cpu_s=30, memory_mb=2048, disk_mb=256, file_mb=64, output_bytes=1 << 16
)
_DRIVER = Path(__file__).parent / "driver.cpp"
_KEPT = 64  # binaries, of about 2 MB each
_binaries: OrderedDict[str, bytes] = OrderedDict()
_lock = threading.Lock()


@functools.cache
def _compiler() -> str:
    found = shutil.which("g++")
    if found is None:
        raise LookupError("g++ is not installed: install it to run C++ programs (package g++)")
    return str(Path(found).resolve())


@functools.cache
def version() -> str:
    """The compiler and its flags; raises LookupError if there is none."""
    said = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=False)
    return " ".join([said.stdout.partition("\n")[0], *_FLAGS])


def _join(code: str, names: frozenset[str]) -> str:
    """The program with the driver before it and the table of its functions after it."""
    if not names:
        return code
    rows = "".join(f'{{"{n}", tamis::wrap(&::{n.replace("().", "::")})}}, ' for n in sorted(names))
    main = f"signed main() {{ return tamis::answer({{{rows}}}); }}"
    driver = _DRIVER.read_text(encoding="utf-8")
    return f'{driver}\n#define main program_main\n#line 1 "main.cpp"\n{code}\n#undef main\n{main}\n'


def build(tally: Tally, names: frozenset[str]) -> Built | TestResult:
    """Compile, or find what the same source, flags and compiler gave before."""
    source = _join(tally.program.code, names)
    key = f"{version()}\n{source}"
    with _lock:
        binary = _binaries.get(key)
    if binary is None:
        made = _compile(tally, source)
        if isinstance(made, TestResult):
            return made
        binary = made
        with _lock:
            _binaries[key] = binary
            if len(_binaries) > _KEPT:
                _binaries.popitem(last=False)
    return Built("native", ("main",), binary)


def _compile(tally: Tally, source: str) -> bytes | TestResult:
    """The executable, or why there is none."""
    if tally.slot.tier != "A":
        why = f"C++ is compiled in tier A only, and this is tier {tally.slot.tier}"
        return TestResult("infra", exception=why)
    command = [_compiler(), *_FLAGS, "-o", "/tmp/main", "/tmp/main.cpp"]
    job = {"files": {"/tmp/main.cpp": source}, "command": command, "result": "/tmp/main"}
    with scratch_memory() as result:
        plan = Run("build", pack(job), Silent(), more=(result,))
        watch, captures = run(Tally(tally.slot, tally.program, _COMPILING), plan)
        binary = os.pread(result, os.fstat(result).st_size, 0)
    if watch.reason is not None:
        return TestResult("timeout", *watch.mark(), exception=f"compiling: {watch.detail}")
    if watch.processes[0].status == 0:
        return binary
    said = bytes(captures[1].kept)
    tally.stderr += said[: tally.limits.output_bytes]
    return TestResult("error", *watch.mark(), exception=_first_error(said))


def _first_error(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if "error" in line]
    return f"does not compile: {lines[0] if lines else 'the compiler was ended'}"[:300]
