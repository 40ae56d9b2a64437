"""The main job as a user runs it: the nano model on real vLLM, to a set that trl trains on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.shards import Shards
from scorers.answers import verify

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.vllm

TRAIN = """
import json, sys, trl
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

model, dataset, out = sys.argv[1:]
rows = load_dataset(dataset, split="train", cache_dir=out)
trainer = trl.SFTTrainer(
    AutoModelForCausalLM.from_pretrained(model),
    args=trl.SFTConfig(output_dir=out, max_steps=6, per_device_train_batch_size=4,
                       learning_rate=1e-4, report_to="none", use_cpu=True, bf16=False,
                       save_strategy="no"),
    train_dataset=rows, eval_dataset=rows, processing_class=AutoTokenizer.from_pretrained(model))
before = trainer.evaluate()["eval_loss"]
trainer.train()
print("RESULT", json.dumps([before, trainer.evaluate()["eval_loss"]]))
"""


def tamis(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "pipeline", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small run of dart_math with every default but its size."""
    out = tmp_path_factory.mktemp("dart") / "run"
    done = tamis("run", "dart_math", "--limit", "24", "--set", "max_trials=12", "--out", str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "built-in nano model" in done.stderr
    return out


def test_rows_are_right_and_harder_prompts_got_more(run: Path) -> None:
    """Every emitted answer verifies, each prompt has its probes, unsolved ones spent their cap."""
    answers = {r["id"]: r["answer"] for r in Shards.open(run / "prompts").table().to_pylist()}
    rows = Shards.open(run / "to_sft").table().to_pylist()
    assert len(rows) >= 12
    for row in rows:
        assert verify(answers[row["id"]], row["messages"][-1]["content"]).verdict == "correct"
    drawn = Shards.open(run / "rollouts").scan()
    correct = (pl.col("verdict") == "correct").sum()
    per_prompt = drawn.group_by("id").agg(pl.len().alias("trials"), correct.alias("right"))
    table = per_prompt.collect()
    assert table["trials"].min() >= 4 and table["trials"].max() <= 12
    assert table.filter(pl.col("right") == 0)["trials"].unique().to_list() in ([12], [])


def test_finished_run_is_not_run_again(run: Path) -> None:
    """The same command on a finished run starts no engine and leaves every byte of the dataset."""
    (file,) = (run / "dataset/sft/data").glob("*.parquet")
    before = file.read_bytes()
    again = tamis(
        *("run", "--config", str(run / "config.yaml"), "--out", str(run), "--resume", "always")
    )
    assert again.returncode == 0, again.stderr[-3000:]
    assert file.read_bytes() == before
    assert "tokens/s" not in again.stderr


def test_replay_needs_no_model(run: Path, tmp_path: Path) -> None:
    """The run replayed into another folder, without vLLM, emits the same bytes."""
    out = tmp_path / "again"
    model = f"model=replay:{run}"
    words = ("run", "--config", str(run / "config.yaml"), "--set", model, "--out", str(out))
    done = tamis(*words)
    assert done.returncode == 0, done.stderr[-3000:]
    files = [next((r / "dataset/sft/data").glob("*.parquet")) for r in (run, out)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_trl_trains_the_nano_model_on_it(run: Path, tmp_path: Path) -> None:
    """Six steps of trl's SFTTrainer on the emitted set lower the nano model's loss on it."""
    words = ("-c", TRAIN, str(ROOT / "data/nano"), str(run / "dataset/sft"), str(tmp_path))
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    before, after = json.loads(done.stdout.split("RESULT ")[1])
    assert after < before
