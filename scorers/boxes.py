"""The sandboxes of this process: one for each set of options, shared by all its threads."""

import atexit
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError

if TYPE_CHECKING:
    from sandbox import Outcome, Program, Sandbox

_WORKERS = 2


def run_programs(
    programs: "Iterable[Program]", options: Mapping[str, Any] | None = None
) -> "Iterator[Outcome]":
    """Yield outcomes in input order, few programs read ahead; `options` are those of `Sandbox`.

    Raises UserError if this machine cannot run a sandbox.
    """
    from sandbox import SandboxUnavailable

    box = _box(os.getpid(), json.dumps({"workers": _WORKERS, **(options or {})}, sort_keys=True))
    try:
        yield from box.run(programs)
    except SandboxUnavailable as error:
        raise UserError(f"the sandbox cannot run here: {error}") from error


@cache
def _box(pid: int, options: str) -> "Sandbox":
    """Return the sandbox of this process: one that was forked must not share its parent's."""
    from sandbox import Sandbox

    try:
        box = Sandbox(**json.loads(options))
    except (TypeError, ValueError) as error:
        raise UserError(f"sandbox options {options}: {error}") from error
    atexit.register(_close, box, pid)
    return box


def _close(box: "Sandbox", pid: int) -> None:
    if os.getpid() == pid:
        box.close()
    _box.cache_clear()  # the last reference goes while the interpreter is still whole
