"""JavaScript: node, started for each test; scripts (CommonJS) and ES modules.

node reserves about 730 MB of address space before it runs anything, and a collector that meets the
end of it dies without a word. So a program's memory limit is its heap's, and its address space is
limited to that and 2 GB more: buffers outside the heap may use what is left. A start costs about
35 ms of CPU.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

from sandbox.built import Built
from sandbox.outcomes import TestResult
from sandbox.runs import Tally

_DRIVER = Path(__file__).parent / "driver.js"
_MORE_MB = 2048


@functools.cache
def _node() -> str:
    found = shutil.which("node")
    if found is None:
        raise LookupError("node is not installed: install it to run JavaScript (package nodejs)")
    return str(Path(found).resolve())


@functools.cache
def version() -> str:
    """The interpreter; raises LookupError if there is none."""
    said = subprocess.run([_node(), "--version"], capture_output=True, text=True, check=False)
    return f"node {said.stdout.strip()}"


def build(tally: Tally, names: frozenset[str]) -> Built | TestResult:
    """The command; the program itself travels on a descriptor."""
    heap = f"--max-old-space-size={tally.limits.memory_mb}"
    driver = _DRIVER.read_text(encoding="utf-8")
    way = "calls" if names else "script"
    arguments = ("node", heap, "-e", driver, way)
    return Built("hosted", arguments, path=_node(), source=tally.program.code, more_mb=_MORE_MB)
