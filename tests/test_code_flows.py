"""The code recipes from end to end: a scripted model, the real sandbox, a kill, a replay."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.reporting.show import summarise
from pipeline.schema import PAIRS, SFT, UNPAIRED, check
from pipeline.shards import Shards, read_parquet
from pipeline.trainers.export import export
from tests.scripts_for_code import pool

ROOT = Path(__file__).resolve().parents[1]
MODEL = "scripted:tests.scripts_for_code:world"


# All of them in one process: each would wait for a server of its own.
RUN_ALL = """
import json, sys
from pathlib import Path
from pipeline.catalog import load_recipe
from pipeline.prefect_home import serving
from pipeline.runs import execute
from pipeline.steps import Run

with serving():
    for name, given in json.loads(sys.argv[2]).items():
        execute(load_recipe(name), given, Run(Path(sys.argv[1]) / name))
"""


def emitted(folder: Path, kind: str):
    """The rows of an emitted set."""
    [file] = (folder / "dataset" / kind / "data").glob("*.parquet")
    return read_parquet(file)


def is_right(code_reply: str, row) -> bool:
    """Whether a reply holds the world's own solution."""
    return row["solution"] in code_reply


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of each recipe."""
    place = tmp_path_factory.mktemp("code")
    small = {"selfcodealign": {"responses": 4}, "codedpo": {"programs": 6, "repetitions": 2}}
    small |= {"dstc": {"programs": 6}, "plum": {"k": 6}}
    jobs = {name: {"model": MODEL, "limit": 24, **given} for name, given in small.items()}
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, str(place), json.dumps(jobs)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: place / name for name in jobs}


def test_selfcodealign_emits_what_passed(folders: dict[str, Path]) -> None:
    """Each row is a task and a response that passes its tests, without them; lineage is whole."""
    rows = check(emitted(folders["selfcodealign"], "sft"), SFT, where="test").to_pylist()
    assert len(rows) >= 5
    texts = [row["messages"][0]["content"] for row in rows]
    assert len(set(texts)) == len(rows)
    known = {i for name in ("rollouts", "posed", "named", "judgements")
             for i in Shards.open(folders["selfcodealign"] / name).table()["rollout_id"].to_pylist()
             }  # fmt: skip
    for row in rows:
        assert "Tests:" not in row["messages"][1]["content"]
        assert len(known & set(row["parents"])) == 4


def test_codedpo_pairs_are_mostly_right(folders: dict[str, Path]) -> None:
    """Chosen is the better program in most pairs, on tests of which a fifth of the replies lie."""
    pairs = check(emitted(folders["codedpo"], "pairs"), PAIRS, where="test").to_pylist()
    right = [is_right(p["chosen"], pool()[p["prompt"][0]["content"]]) for p in pairs]
    wrong = [not is_right(p["rejected"], pool()[p["prompt"][0]["content"]]) for p in pairs]
    assert len(pairs) >= 10 and sum(right) + sum(wrong) >= 1.6 * len(pairs)
    assert {p["kind"] for p in pairs} <= {"correctness", "efficiency"}


def test_dstc_emits_both_forms(folders: dict[str, Path]) -> None:
    """Both sides of a pair carry the same test; the same texts stand labelled beside them."""
    pairs = emitted(folders["dstc"], "pairs").to_pylist()
    labels = check(emitted(folders["dstc"], "unpaired"), UNPAIRED, where="test").to_pylist()
    assert len(pairs) >= 10
    for pair in pairs:
        assert pair["chosen"].splitlines()[-2] == pair["rejected"].splitlines()[-2]
    good = {row["completion"] for row in labels if row["label"]}
    assert {pair["chosen"] for pair in pairs} <= good
    assert {row["label"] for row in labels} == {True, False}


def test_plum_names_its_policy(folders: dict[str, Path]) -> None:
    """Pairs and labelled rows are of the policy, and preferred ones passed every kept test."""
    pairs, labels = (emitted(folders["plum"], kind).to_pylist() for kind in ("pairs", "unpaired"))
    assert pairs and {pair["model"] for pair in pairs} == {MODEL}
    assert all(pair["score_chosen"] == 1 > pair["score_rejected"] for pair in pairs)
    assert len(labels) > 2 * len(pairs)


def test_length_bias_is_said(folders: dict[str, Path]) -> None:
    """Show and report name the ratio of lengths wherever there are pairs, and only there."""
    for name, folder in folders.items():
        has_pairs = name != "selfcodealign"
        assert ("Length ratio" in summarise(folder)) == has_pairs
        assert ("Length ratio" in (folder / "report.html").read_text()) == has_pairs


TRAIN = """
import json, sys, trl
from datasets import load_dataset
from transformers import AutoTokenizer

out, *jobs = sys.argv[1:]
for job in jobs:
    method, folder = job.split("=", 1)
    rows = load_dataset(folder, split="train", cache_dir=out)
    options = dict(output_dir=out, max_steps=2, per_device_train_batch_size=4, logging_steps=1,
                   report_to="none", use_cpu=True, bf16=False, save_strategy="no",
                   learning_rate=1e-3)
    trainer = getattr(trl, method + "Trainer")(
        "data/nano", args=getattr(trl, method + "Config")(**options), train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained("data/nano"))
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    print("RESULT", json.dumps([method, losses]))
"""


def test_trl_takes_preferences_from_them(folders: dict[str, Path], tmp_path: Path) -> None:
    """Two steps of trl's DPO and KTO trainers move the nano model on the emitted sets."""
    jobs = [
        f"DPO={export(folders['codedpo'], 'trl')}",
        f"KTO={export(folders['plum'], 'trl', 'unpaired')}",
    ]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(tmp_path), *jobs],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(json.loads(line[7:]) for line in done.stdout.splitlines() if line[:6] == "RESULT")
    assert found["DPO"][0] == pytest.approx(0.6931, abs=1e-3) and found["DPO"][1] < 0.69
    assert len(found["KTO"]) == 2 and found["KTO"][0] != found["KTO"][1]


def tamis(folder: Path, model: str) -> list[str]:
    """The command of a small run of plum."""
    settings = [f"model={model}", "limit=24", "k=6"]
    words = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "pipeline", "run", "plum", "--out", str(folder), *words]


def test_a_killed_run_ends_with_the_same_bytes(folders: dict[str, Path], tmp_path: Path) -> None:
    """Killed while programs run, then finished: the sets of the undisturbed run, on its replay."""
    command = tamis(tmp_path / "again", f"replay:{folders['plum']}")
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    judged = tmp_path / "again/sandbox"
    deadline = time.monotonic() + 120
    while not any(file.stat().st_size > 20_000 for file in judged.glob("*")):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "again/dataset").exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind in ("pairs", "unpaired"):
        assert emitted(tmp_path / "again", kind).equals(emitted(folders["plum"], kind))
