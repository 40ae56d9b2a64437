"""SandboxFusion's ``POST /run_code``, so that reward code written for it works by its URL alone.

Only the format is theirs: programs run in our jail, pipes are read while they run, and time limits
are CPU seconds. ``files`` and ``fetch_files`` (base64, in the program's private /tmp) are for
Python in tier A; for other languages a request that uses them is refused rather than run without.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sandbox.outcomes import Outcome
from sandbox.programs import Limits, Program

_LANGUAGES = {"python": "python", "python3": "python", "cpp": "cpp", "nodejs": "javascript"}
_LANGUAGES |= {"javascript": "javascript", "js": "javascript"}
_RUN_S = 10.0
_FETCHED = 16 << 20  # bytes of stdout where files come back behind it
# Around a Python program that has files: what it fetches is printed behind a random mark.
_WITH_FILES = """import base64 as _base64, json as _json, pathlib as _pathlib
for _name, _content in {files!r}.items():
    _pathlib.Path(_name).parent.mkdir(parents=True, exist_ok=True)
    _pathlib.Path(_name).write_bytes(_base64.b64decode(_content))
try:
    exec(compile({code!r}, "main.py", "exec"), globals())
finally:
    _found = {{n: _pathlib.Path(n) for n in {fetch!r} if _pathlib.Path(n).is_file()}}
    _found = {{n: _base64.b64encode(p.read_bytes()).decode() for n, p in _found.items()}}
    print({mark!r} + _json.dumps(_found), flush=True)
"""


def run_code(request: Any, judge: Callable[[Program], Outcome]) -> dict[str, Any]:
    """The answer to one request; raises ValueError that says what is wrong with it."""
    if not isinstance(request, dict) or not isinstance(request.get("code"), str):
        raise ValueError("'code' has to be text")
    language = _LANGUAGES.get(request.get("language") or "")
    if language is None:
        known = ", ".join(_LANGUAGES)
        raise ValueError(f"'language' is one of {known}, not {request.get('language')!r}")
    code, mark = request["code"], ""
    if request.get("files") or request.get("fetch_files"):
        code, mark = _with_files(request, language)
    seconds = _positive(request, "run_timeout", _RUN_S)
    memory = _positive(request, "memory_limit_MB", Limits.memory_mb)
    limits = Limits(cpu_s=seconds, test_cpu_s=seconds, memory_mb=int(memory))
    if mark:
        limits = replace(limits, output_bytes=_FETCHED)
    stdin = request.get("stdin") or ""
    if not isinstance(stdin, str):
        raise ValueError("'stdin' has to be text")
    outcome = judge(Program("run", code, language=language, stdin=stdin, limits=limits))
    stdout, found, fetched = outcome.stdout.rpartition(mark) if mark else ("", "", "")
    try:
        files = json.loads(fetched) if found else {}
    except ValueError:  # the program printed something behind it
        files = {}
    return {**_answer(replace(outcome, stdout=stdout) if found else outcome), "files": files}


def _with_files(request: dict[str, Any], language: str) -> tuple[str, str]:
    """A program that finds its files and prints those it is to give back behind the mark."""
    files, fetch = request.get("files") or {}, request.get("fetch_files") or []
    if language != "python":
        raise ValueError(f"'files' and 'fetch_files' are for python, not {language}: use stdin")
    if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
        raise ValueError("'files' has to map names to base64 text")
    if not isinstance(fetch, list) or not all(isinstance(name, str) for name in fetch):
        raise ValueError("'fetch_files' has to be a list of names")
    mark = f"\0{os.urandom(16).hex()}\0"
    return _WITH_FILES.format(files=files, code=request["code"], fetch=fetch, mark=mark), mark


def _positive(request: dict[str, Any], name: str, otherwise: float) -> float:
    value = request.get(name)
    if value is None or value == -1:  # theirs: no limit asked for
        return otherwise
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{name!r} has to be a positive number, not {value!r}")
    return float(value)


def _answer(outcome: Outcome) -> dict[str, Any]:
    """Their words for what happened."""
    why = outcome.exception or ""
    compiling = why.startswith(("does not compile", "compiling"))
    run = {
        "status": "TimeLimitExceeded" if outcome.verdict == "timeout" else "Finished",
        "execution_time": outcome.wall_ms / 1000,
        "return_code": outcome.exit_status,
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
    }
    if outcome.verdict == "timeout":
        run["return_code"] = None
    elif compiling:
        run["return_code"] = 1
    status = "Success" if outcome.verdict == "unverified" and not why else "Failed"
    if outcome.verdict == "infra":
        status, run["status"] = "SandboxError", "Error"
    return {
        "status": status,
        "message": why,
        "compile_result": run if compiling else None,
        "run_result": None if compiling else run,
        "executor_pod_name": None,
    }
