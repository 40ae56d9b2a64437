"""What the interpreter says of a program and its tests, as a text to learn from (LeTI).

The text is evidence for a reader, not a verdict: program and tests run as one script here, and the
script may say what it likes. Verdicts come from `scorers.programs`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scorers.boxes import run_programs

_HEAD = "Traceback (most recent call last):"
_FRAME = re.compile(r'  File "([^"]*)", line (\d+)(?:, in (.+))?$')
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_OWN = "__main__.py"  # the name under which the sandbox runs a script
_LONGEST = 2000  # characters of one feedback


def interpreter_feedback(
    sources: Sequence[str],
    *,
    sandbox: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> list[str | None]:
    """Run each source (program and tests) as a script; return what went wrong, None if nothing did.

    A traceback as `read_traceback` gives it, else a word: "timeout", "oom", "killed", "infra".
    """
    from sandbox import Limits, Program

    bounds = Limits(**limits) if limits else None
    work = [Program(str(i), source, limits=bounds) for i, source in enumerate(sources)]
    found: list[str | None] = []
    for source, outcome in zip(sources, run_programs(work, sandbox), strict=True):
        text = read_traceback(outcome.stderr, source) if outcome.verdict == "error" else None
        quiet = outcome.verdict == "unverified"  # a script without tests that ended as it should
        found.append(text or (None if quiet else outcome.verdict))
    return found


def read_traceback(stderr: str, source: str) -> str | None:
    """Return the last traceback with the program's own frames only, the same for the same failure.

    The file is called <string>, each frame is followed by its line of `source`; carets, addresses
    and what is longer than 2000 characters are left out. None if there is no traceback.
    """
    _, head, after = stderr.rpartition(_HEAD)
    if not head:
        return None
    lines, own = source.split("\n"), True
    kept = [_HEAD]
    for line in after.strip("\n").split("\n"):
        frame = _FRAME.match(line)
        if frame:
            own = frame[1] == _OWN
            if own:
                where = f", in {frame[3]}" if frame[3] else ""
                kept.append(f'  File "<string>", line {frame[2]}{where}')
                kept += _line_of(lines, int(frame[2]))
        elif line.startswith("    "):
            continue  # the frame's line of source, and carets
        elif own or not line.startswith(" "):
            kept.append(line)
    text = _ADDRESS.sub("0x...", "\n".join(kept))
    return text[:_LONGEST] + "\n"


def _line_of(lines: Sequence[str], number: int) -> list[str]:
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return [f"    {text}"] if text else []
