"""The doctor of the sandbox: what it finds is what the sandbox then gives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sandbox.doctor
from sandbox import Limits, Program, Sandbox
from sandbox.doctor import examine
from sandbox.selftest import run_selftest
from sandbox.supervisor import Slot, SlotLost

ROOT = Path(__file__).parents[1]


def doctor(*flags):
    """The command, run."""
    command = [sys.executable, "-m", "pipeline", "sandbox", "doctor", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_doctor_finds_the_tier_that_the_sandbox_gives():
    """The JSON report names the tier that a sandbox opens with, is sound, and exits with 0."""
    answer = doctor("--json")
    report = json.loads(answer.stdout)
    with Sandbox(workers=1) as box:
        assert (report["tier"], report["sound"], answer.returncode) == (box.tier, True, 0)
    failed = [p["what"] for p in report["probes"] if p["needed"] and not p["works"]]
    assert failed == []


def test_text_and_json_agree():
    """The text has one line for each probe of the JSON report, then the tier."""
    lines = examine()[0].splitlines()
    probes = json.loads(examine(as_json=True)[0])["probes"]
    assert [line.startswith(p["what"]) for line, p in zip(lines, probes, strict=False)]
    assert len(lines) == len(probes) + 1 and lines[-1].startswith("tier ")


def only(*tiers):
    """Slots of these tiers only, as on a weaker machine."""

    def start(python, tier):
        if tier not in tiers:
            raise SlotLost("unshare: Operation not permitted")
        return Slot(python, tier)

    return start


def test_below_the_required_tier_is_not_sound(monkeypatch):
    """On a machine that gives B only, B is sound, and A is refused with its remedy."""
    monkeypatch.setattr(sandbox.doctor, "Slot", only("B"))
    assert examine(require="B")[1]
    text, sound = examine(require="A")
    assert not sound
    assert "tier B, but tier A is required: permit unprivileged user namespaces" in text


def test_no_tier_at_all_exits_with_1():
    """Where user namespaces are used up and the user cannot change, the command exits with 1."""
    inner = f"{sys.executable} -m pipeline sandbox doctor"
    script = f"echo 0 > /proc/sys/user/max_user_namespaces && {inner}"
    answer = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1, answer.stdout
    assert answer.stdout.splitlines()[-1] == "no tier: the sandbox refuses to run here"


class _Broken:
    """A sandbox whose every program is said to be correct, as with an open wall."""

    def run(self, programs):
        from sandbox.outcomes import Outcome

        return [Outcome(p.id, "correct", "isolated", "A") for p in programs]


def test_selftest_tells_a_forged_verdict():
    """A judge that passes everything fails the self-test by every forgery."""
    contained, rejected, honest = run_selftest(_Broken())
    assert (rejected.good, rejected.total > 4) == (0, True)
    assert contained.bad == honest.bad == ()


@pytest.mark.parametrize("tier", ["A", "B"])
def test_selftest_passes_in_each_tier(tier):
    """Escapes are contained, forgeries rejected and honest programs passed."""
    with Sandbox(workers=2, tier=tier) as box:
        assert [finding.bad for finding in run_selftest(box)] == [(), (), ()]
        quick = Limits(test_cpu_s=1)
        (after,) = box.run([Program("next", "print(1)", limits=quick)])
        assert after.stdout == "1\n"
