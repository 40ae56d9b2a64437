"""What this machine can promise, found out by doing it; each failure with its remedy."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox.box import Sandbox
from sandbox.jail import landlock_abi
from sandbox.languages import LANGUAGES
from sandbox.programs import Program
from sandbox.selftest import run_selftest
from sandbox.supervisor import Slot, SlotLost, default_python

_TIERS = ("A", "A-", "B")
_MEANING = {
    "A": "full isolation: own namespaces for every program",
    "A-": "namespaces from bubblewrap, once for each slot",
    "B": "Landlock and seccomp, no namespaces: no /tmp to write to, C++ is refused",
}
_REMEDIES = {
    "A": "permit unprivileged user namespaces: an AppArmor profile with 'userns,' for the "
    "interpreter, or sysctl kernel.apparmor_restrict_unprivileged_userns=0; in Docker, "
    "--security-opt seccomp=unconfined or rootless Podman",
    "A-": "install bubblewrap and run as an ordinary user",
    "B": "boot a kernel with Landlock (5.13 or newer, 'landlock' in lsm=)",
}
_QUOTA = """try:
    with open("/tmp/it", "wb") as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
            file.flush()
    print("open")
except OSError:
    print("closed")
"""
_SPEED = 100  # tiny programs


@dataclass(frozen=True)
class Probe:
    """One thing that was tried; without the `needed` ones the sandbox is not sound."""

    what: str
    works: bool
    found: str
    needed: bool = False
    remedy: str = ""


def examine(*, as_json: bool = False, require: str | None = None) -> tuple[str, bool]:
    """Probe the machine; the report, and whether the sandbox is sound and of the tier required."""
    probes = [_machine(), *_tiers(), _landlock(), _cgroup(), *_languages()]
    tier = next((tier for tier in _TIERS if _works(probes, f"tier {tier}")), None)
    if tier is not None:
        probes += _try_programs(tier)
    strong = tier is not None and (require is None or _TIERS.index(tier) <= _TIERS.index(require))
    sound = strong and all(probe.works for probe in probes if probe.needed)
    if as_json:
        report = {"tier": tier, "required": require, "sound": sound}
        return json.dumps({**report, "probes": [asdict(p) for p in probes]}, indent=2), sound
    return "\n".join([*_lines(probes), _conclude(tier, require, strong, sound)]), sound


def _lines(probes: list[Probe]) -> Iterator[str]:
    width = max(len(probe.what) for probe in probes)
    for probe in probes:
        remedy = f": {probe.remedy}" if probe.remedy and not probe.works else ""
        mark = "ok  " if probe.works else "no  "
        yield f"{probe.what:{width}}  {mark}{probe.found}{remedy}"


def _conclude(tier: str | None, require: str | None, strong: bool, sound: bool) -> str:
    if tier is None:
        return "no tier: the sandbox refuses to run here"
    if require is not None and not strong:
        return f"tier {tier}, but tier {require} is required: {_REMEDIES[require]}"
    if not sound:
        return f"tier {tier}, but not sound: see what failed above, and do not trust verdicts"
    return f"tier {tier}: {_MEANING[tier]}"


def _works(probes: list[Probe], what: str) -> bool:
    return any(probe.what == what and probe.works for probe in probes)


def _machine() -> Probe:
    uid = os.getuid()
    user = "uid 0 (programs run as 65534)" if uid == 0 else f"uid {uid}"
    container = "yes" if Path("/.dockerenv").exists() or "container" in os.environ else "no"
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    known = platform.machine() in ("x86_64", "aarch64") and platform.system() == "Linux"
    remedy = "use Linux on x86-64 or aarch64"
    return Probe("kernel", known, f"{kernel}, {user}, container: {container}", True, remedy)


def _tiers() -> Iterator[Probe]:
    """Start a slot of each tier: it mounts, pivots, filters, and tries its own walls."""
    for tier in _TIERS:
        try:
            Slot(default_python(), tier).close()
        except SlotLost as error:
            yield Probe(f"tier {tier}", False, str(error), remedy=_REMEDIES[tier])
        else:
            yield Probe(f"tier {tier}", True, "a slot started and its walls held")


def _landlock() -> Probe:
    abi = landlock_abi()
    covers = [name for least, name in ((1, "files"), (4, "tcp"), (5, "ioctl"), (6, "signals"))]
    covers = [name for least, name in zip((1, 4, 5, 6), covers, strict=True) if abi >= least]
    found = f"ABI {abi} ({', '.join(covers)})" if abi else "not in this kernel"
    return Probe("landlock", abi > 0, found, remedy=_REMEDIES["B"])


def _cgroup() -> Probe:
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    version = "v2" if unified else "v1" if Path("/proc/cgroups").exists() else "none"
    return Probe("cgroup", True, f"{version}, not used: memory is limited for each process")


def _languages() -> Iterator[Probe]:
    for name in ("cpp", "javascript"):
        try:
            yield Probe(name, True, LANGUAGES[name].version())
        except LookupError as error:
            yield Probe(name, False, str(error))


def _try_programs(tier: str) -> Iterator[Probe]:
    """What programs in a real box can and cannot do, and how fast they are."""
    with Sandbox(2, tier=tier) as box:  # type: ignore[arg-type]
        (quota,) = box.run([Program("quota", _QUOTA)])
        closed = quota.stdout == "closed\n"
        yield Probe("disk quota", closed, "a program that fills /tmp is stopped", needed=True)
        for finding in run_selftest(box):
            failed = f", not: {', '.join(finding.bad)}" if finding.bad else ""
            found = f"{finding.good} of {finding.total}{failed}"
            yield Probe(finding.group, not finding.bad, found, needed=True)
        tiny = Program("tiny", "def f(x):\n    return x\n", tests=("assert f(1) == 1",))
        started = time.monotonic()
        outcomes = list(box.run([tiny] * _SPEED))
        seconds = time.monotonic() - started
        cpu = sum(outcome.cpu_ms for outcome in outcomes) / _SPEED
        found = f"{_SPEED / seconds:.0f} tiny programs/s on 2 workers, {cpu:.1f} ms CPU in each"
        yield Probe("speed", True, found)
