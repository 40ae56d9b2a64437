"""The command line as a user meets it: what works, and how each fault is said."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.shards import Shards

ADDS = "model=scripted:tests.scripts_for_engines:adds"
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Sixty sums as a user's file, with column names of the user's own."""
    file = tmp_path / "sums.jsonl"
    rows = [{"query": f"What is {a} + 5?", "gold": str(a + 5), "level": a % 3} for a in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def dart(file: Path, out: Path, *more: str) -> list[str]:
    """A small dart_math command on `file`."""
    columns = ["--set", "columns.prompt=query", "--set", "columns.answer=gold"]
    sets = [f"prompts={file}", ADDS, "max_tokens=50", "k=4", "max_trials=16", *more]
    flags = [word for one in sets for word in ("--set", one)]
    return ["run", "dart_math", "--out", str(out), *columns, *flags]


@pytest.mark.usefixtures("prefect_server")
class TestRuns:
    """Runs in this process, on the session's Prefect server."""

    def test_run_show_export_check(self, sums: Path, tmp_path: Path, capsys) -> None:
        """One command makes a dataset that loads, exports and passes the trainers' own checks."""
        out = tmp_path / "run"
        assert main(dart(sums, out)) == 0
        assert str(out) in capsys.readouterr().out
        import datasets

        rows = datasets.load_dataset(str(out / "dataset/sft"), split="train")
        assert len(rows) > 60 and rows[0]["messages"][-1]["role"] == "assistant"
        assert (out / "report.html").stat().st_size > 10_000
        assert main(["show", str(out), "--rows", "1"]) == 0
        assert main(["trace", str(out), rows[0]["row_id"]]) == 0
        for trainer in ("trl", "llamafactory", "axolotl", "open-instruct"):
            assert main(["export", str(out), "--to", trainer]) == 0
        assert main(["check", str(out / "export/trl-sft")]) == 0

    def test_a_finished_run_writes_nothing_again(self, sums: Path, tmp_path: Path) -> None:
        """A second run leaves data, set and report as they lie; a torn set is written again."""
        out = tmp_path / "run"
        assert main(dart(sums, out)) == 0
        kinds = (".parquet", ".md", ".html", ".svg")
        files = [file for file in out.rglob("*") if file.suffix in kinds]
        before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
        assert len(files) >= 8 and main(dart(sums, out)) == 0
        assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files] == before
        (torn,) = (out / "dataset").rglob("*.parquet")
        whole = torn.read_bytes()
        torn.write_bytes(whole[:-1])
        assert main(dart(sums, out)) == 0
        assert torn.read_bytes() == whole

    def test_config_runs_again_as_it_is(self, sums: Path, tmp_path: Path) -> None:
        """The config.yaml of a run, given to another folder, makes the same dataset bytes."""
        one, two = tmp_path / "one", tmp_path / "two"
        assert main(dart(sums, one)) == 0
        assert main(["run", "--config", str(one / "config.yaml"), "--out", str(two)]) == 0
        assert _dataset_bytes(one) == _dataset_bytes(two)

    def test_counts_balance_and_easy_prompts_cost_less(self, sums: Path, tmp_path: Path) -> None:
        """In = kept + dropped at every step, and hard prompts get more trials than easy ones."""
        out = tmp_path / "run"
        assert main(dart(sums, out)) == 0
        for step in json.loads((out / "manifest.json").read_text())["steps"]:
            if step["name"] != "rollouts":
                assert step["rows_in"] == step["rows"] + sum(step["dropped"].values())
        trials = Shards.open(out / "rollouts").scan().group_by("id").len().collect()["len"]
        assert trials.min() == 4 and trials.max() == 16

    def test_higher_target_asks_only_what_is_new(self, sums: Path, tmp_path: Path) -> None:
        """A second run with a bigger k keeps every rollout of the first and adds to them."""
        out = tmp_path / "run"
        assert main(dart(sums, out)) == 0
        before = _rollout_texts(out)
        assert main(dart(sums, out, "k=8")) == 0
        after = _rollout_texts(out)
        assert before.items() <= after.items() and len(after) > len(before)

    def test_a_corrected_reference_is_judged_anew(self, sums: Path, tmp_path: Path) -> None:
        """Verdicts follow the reference: rollouts that were right by the old one are wrong now."""
        out = tmp_path / "run"
        fixed = ["k=2", "max_trials=4"]
        assert main(dart(sums, out, *fixed)) == 0
        before = _rollout_texts(out)
        sums.write_text(sums.read_text().replace('"gold": "', '"gold": "9'))
        assert main(dart(sums, out, *fixed)) == 0
        rollouts = Shards.open(out / "rollouts").table()
        assert before.items() <= _rollout_texts(out).items()
        assert "correct" not in rollouts["verdict"].to_pylist()
        assert Shards.open(out / "to_sft").rows == 0

    @pytest.mark.parametrize("scale", ["one", "hardest"])
    def test_budgets(self, sums: Path, tmp_path: Path, scale: str) -> None:
        """Prop2diff with either scale and the vanilla baseline emit distinct correct rows."""
        assert main(dart(sums, tmp_path / "a", f"scale={scale}")) == 0
        assert main(dart(sums, tmp_path / "b", "budget=fixed")) == 0
        assert Shards.open(tmp_path / "b/rollouts").rows == 240
        for name in "ab":
            rows = Shards.open(tmp_path / name / "to_sft").table().to_pylist()
            texts = [(row["id"], row["messages"][-1]["content"]) for row in rows]
            assert rows and len(texts) == len(set(texts))

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (["prompts=nowhere.jsonl"], "nowhere.jsonl: no such file"),
            (["prompts=/dev/null"], "/dev/null"),
            (["columns.answer=answr"], "no answer column (answr)"),
            (["columns.id=level"], "duplicate ids"),
            (["model=vllm:./no-model"], "./no-model"),
            (["model=openai:http://127.0.0.1:9/v1#m"], "127.0.0.1:9"),
            (["k=0"], "k = 0"),
        ],
    )
    def test_faults_are_one_sentence(
        self, sums: Path, tmp_path: Path, capfd, change: list[str], says: str
    ) -> None:
        """Bad input ends with exit code 1 and one sentence on stderr, without a traceback."""
        assert main(dart(sums, tmp_path / "run", *change)) == 1
        said = capfd.readouterr().err
        assert says in said and "Traceback" not in said

    def test_empty_references(self, tmp_path: Path, capfd) -> None:
        """An empty reference is an error with its row, or a counted drop with skip_bad."""
        file = tmp_path / "p.jsonl"
        rows = [{"query": f"What is {a} + 5?", "gold": str(a + 5)} for a in range(3)]
        rows.append({"query": "What is 9 + 5?", "gold": " "})
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert main(dart(file, tmp_path / "run")) == 1
        assert "1 of 4 rows have empty answers" in capfd.readouterr().err
        assert main(dart(file, tmp_path / "run", "skip_bad=true")) == 0
        assert Shards.open(tmp_path / "run/prompts").lineage["dropped"] == {"empty_answer": 1}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "dart_maht"], "did you mean dart_math?"),
        (["run", "dart_math", "--set", "temprature=1"], "did you mean temperature?"),
        (["run", "dart_math", "--set", "k=many"], "k = 'many' is not a whole number"),
        (["run", "dart_math", "--set", "budget=best"], "one of prop2diff, uniform, fixed"),
        (["run", "dart_math", "--set", "k"], "write it as name=value"),
        (["run"], "name a recipe"),
        (["run", "--config", "no.yaml"], "no.yaml: no such file"),
        (["show", "no-run"], "no-run"),
        (["export", "no-run", "--to", "trl"], "no-run"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], says: str, capfd) -> None:
    """A wrong name or value is refused before anything starts, with the nearest right one."""
    assert main(words) == 1
    said = capfd.readouterr().err
    assert says in said and "Traceback" not in said


def test_a_folder_that_cannot_be_written_is_one_sentence(capfd) -> None:
    """An --out where nothing can be made is refused before anything starts."""
    assert main(["run", "dart_math", "--out", "/proc/run"]) == 1
    said = capfd.readouterr().err
    assert "/proc/run" in said and "Traceback" not in said


def test_list_names_every_recipe(capsys) -> None:
    """Each recipe is listed with its paper and what it emits, as text and as JSON."""
    assert main(["list"]) == 0
    assert "dart_math" in capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {"name", "paper", "output", "title", "module", "ran_on"} == set(entries[0])


def test_audit_finds_bad_references(tmp_path: Path, capsys) -> None:
    """The audit passes clean references and names a row whose reference is empty."""
    file = tmp_path / "p.jsonl"
    file.write_text('{"question": "a", "answer": "12"}\n{"question": "b", "answer": "1/2"}\n')
    assert main(["audit", str(file)]) == 0
    assert "2 of 2 references verify" in capsys.readouterr().out
    file.write_text('{"question": "a", "answer": "12"}\n{"question": "b", "answer": ""}\n')
    assert main(["audit", str(file)]) == 1


def test_killed_run_is_finished_by_the_same_command(sums: Path, tmp_path: Path) -> None:
    """SIGKILL in mid-run, then the same command: an undisturbed run's dataset, byte for byte."""
    command = [sys.executable, "-m", "pipeline"]
    slow = "engine={latency_s: 0.15, slots: 8}"
    whole = [*command, *dart(sums, tmp_path / "whole", slow)]
    subprocess.run(whole, cwd=ROOT, check=True, capture_output=True)
    out = tmp_path / "killed"
    killed = subprocess.Popen(
        [*command, *dart(sums, out, slow)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    journal = out / "rollouts/journal/00000.jsonl"
    _await(lambda: journal.exists() and journal.stat().st_size > 9000)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    held = {json.loads(line[17:])["rollout_id"] for line in journal.read_bytes().splitlines()[:-1]}
    assert held and not (out / "dataset").exists()
    refused = subprocess.Popen([*command, *dart(sums, out, slow)], cwd=ROOT)
    assert refused.wait() == 0
    assert _dataset_bytes(out) == _dataset_bytes(tmp_path / "whole")
    assert held <= set(_rollout_texts(out))


def test_ctrl_c_stops_at_once_and_the_run_goes_on_later(sums: Path, tmp_path: Path) -> None:
    """SIGINT ends a run within seconds with one sentence; the same command then finishes it."""
    out = tmp_path / "run"
    words = dart(sums, out, "engine={latency_s: 0.4, slots: 8}")
    # A shell's background job ignores SIGINT, and pytest may be one.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    call = f"{listen}from pipeline.__main__ import main; raise SystemExit(main({words!r}))"
    run = subprocess.Popen(
        [sys.executable, "-c", call], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    _await(lambda: (out / "progress.jsonl").exists())
    started = time.monotonic()
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and time.monotonic() - started < 30
    assert "the same command goes on" in said and "Traceback" not in said
    subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=ROOT, check=True)
    assert _dataset_bytes(out)


def test_two_runs_in_one_folder_exclude_each_other(sums: Path, tmp_path: Path) -> None:
    """A second run in the same folder is refused in one sentence that names the first's process."""
    command = [sys.executable, "-m", "pipeline"]
    slow = "engine={latency_s: 0.5, slots: 4}"
    first = subprocess.Popen(
        [*command, *dart(sums, tmp_path / "run", slow)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        _await(lambda: (tmp_path / "run/rollouts/journal").exists())
        second = subprocess.run(
            [*command, *dart(sums, tmp_path / "run", slow)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 1
    assert str(first.pid) in second.stderr and "Traceback" not in second.stderr


def _await(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _dataset_bytes(run: Path) -> dict[str, bytes]:
    files = sorted((run / "dataset/sft/data").glob("*.parquet"))
    assert files
    return {file.name: file.read_bytes() for file in files}


def _rollout_texts(run: Path) -> dict[str, str]:
    shards = Shards.open(run / "rollouts")
    parts = [shards.scan(), *([aside] if (aside := shards.aside()) is not None else [])]
    rows = [
        row for part in parts for row in part.select("rollout_id", "completion").collect().rows()
    ]
    return dict(rows)


def test_arrow_allocates_by_jemalloc():
    """The command chooses Arrow's allocator before pyarrow is imported."""
    code = (
        "from pipeline.__main__ import main; main(['list']); import pyarrow as pa; "
        "print(pa.default_memory_pool().backend_name)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ARROW_DEFAULT_MEMORY_POOL"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "jemalloc"
