"""Faults of the world around a run: what is said, what is kept, and that the same command ends it.

Each run is a process of its own; a scripted model writes down which requests it was asked.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from pipeline.__main__ import main
from pipeline.files import lock_folder
from pipeline.shards import Shards

ROOT = Path(__file__).resolve().parents[1]
MODEL = "model=scripted:tests.scripts_for_engines:adds_and_notes"
# A shell's background job ignores SIGINT, and pytest may be one.
MAIN = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
MAIN += "{before}; from pipeline.__main__ import main; sys.exit(main(sys.argv[1:]))"

# The first things that a run does with its folder, without what takes seconds to import.
ENTER = """
import sys
from pathlib import Path
from pipeline.errors import UserError
from pipeline.files import lock_folder, require_space
try:
    require_space(Path(sys.argv[1]), 256 << 20)
    with lock_folder(Path(sys.argv[1])):
        pass
except UserError as fault:
    print(fault)
"""


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Sixty sums."""
    file = tmp_path / "sums.jsonl"
    rows = [{"prompt": f"What is {a} + 5?", "answer": str(a + 5)} for a in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


class Runs:
    """Starts dart_math on the sums; every command but its --out is the same."""

    def __init__(self, sums: Path, api: str) -> None:
        self.sums, self.asked = sums, sums.with_name("asked")
        self.environment = {
            **os.environ,
            "PREFECT_API_URL": api,
            "TAMIS_ASKED": str(self.asked),
            "PYTHONPATH": str(ROOT),
        }

    def command(self, out: Path, before: str = "pass", latency_s: float = 0.0) -> list[str]:
        """Return the command; `before` is Python that runs first."""
        sets = [f"prompts={self.sums}", MODEL, "k=4", "max_trials=16", "max_tokens=50"]
        sets.append(f"engine={{latency_s: {latency_s}, slots: 8}}")
        flags = [word for one in sets for word in ("--set", one)]
        return [
            *(sys.executable, "-c", MAIN.format(before=before), "run", "dart_math"),
            *("--out", str(out), *flags),
        ]

    def start(self, out: Path, latency_s: float = 0.4) -> "subprocess.Popen[str]":
        """Start a slow run and wait until something was asked and judged."""
        child = subprocess.Popen(
            self.command(out, latency_s=latency_s),
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        await_(lambda: (out / "progress.jsonl").exists())
        return child

    def run(self, out: Path, before: str) -> "subprocess.CompletedProcess[str]":
        """Run to the end in a process of its own."""
        return subprocess.run(
            self.command(out, before), env=self.environment, capture_output=True, text=True
        )

    def again(self, out: Path) -> int:
        """Run in this process, which is quicker; return the exit code."""
        return main(self.command(out)[3:])

    def asked_since(self, mark: int = 0) -> list[str]:
        """Return the requests that the model was asked, but for the first `mark`."""
        return self.asked.read_text().split()[mark:] if self.asked.exists() else []


def await_(happened: Callable[[], bool]) -> None:
    """Wait for something, a minute at most."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def content(run: Path) -> dict[str, bytes]:
    """What must be equal: configuration, manifests, every shard, the dataset."""
    names = ["manifest.json", "dataset/**/*", "*/data/*", "*/manifest.json"]
    files = {file for name in names for file in run.glob(name) if file.is_file()}
    return {str(file.relative_to(run)): file.read_bytes() for file in sorted(files)}


def finished(run: Path) -> set[str]:
    """Return the ids of every rollout on disk, in shards and journals."""
    held = set()
    for file in (run / "rollouts/journal").glob("*.jsonl"):
        for line in file.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                held.add(json.loads(line[17:])["rollout_id"])
    if (run / "rollouts/manifest.json").exists():
        held |= set(Shards.open(run / "rollouts").table(["rollout_id"])["rollout_id"].to_pylist())
    return held


@pytest.fixture
def runs(sums: Path, prefect_server: str, monkeypatch) -> Runs:
    """Commands on this test's own sums."""
    made = Runs(sums, prefect_server)
    monkeypatch.setenv("TAMIS_ASKED", str(made.asked))
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory, prefect_server) -> dict[str, bytes]:
    """The files of a run that nothing disturbed. They name no path but that of the prompts."""
    place = tmp_path_factory.mktemp("whole")
    rows = [{"prompt": f"What is {a} + 5?", "answer": str(a + 5)} for a in range(60)]
    (place / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs = Runs(place / "sums.jsonl", prefect_server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAMIS_ASKED", str(runs.asked))
        assert runs.again(place / "run") == 0
    return content(place / "run")


def same(run: Path, whole: dict[str, bytes]) -> bool:
    """Whether the training data and the shards are the undisturbed run's."""
    now = content(run)
    data = [name for name in whole if name.endswith(".parquet")]
    return [now.get(name) for name in data] == [whole[name] for name in data]


def test_ctrl_c_once_ends_with_a_valid_partial_set(runs, tmp_path, whole, caplog):
    """What was in flight is in the set, which loads; the same command asks only what is left."""
    out = tmp_path / "run"
    child = runs.start(out)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "Ctrl-C again stops now" in said and "valid, partial set" in said
    assert "Traceback" not in said
    manifest = orjson.loads((out / "manifest.json").read_bytes())
    assert manifest["stopped"] is True
    first = runs.asked_since()
    assert finished(out) == set(first)  # nothing in flight was thrown away
    rows = Shards.open(out / "to_sft").table()
    (file,) = (out / "dataset/sft/data").glob("*.parquet")
    assert 0 < len(rows) and file.stat().st_size > 0
    assert runs.again(out) == 0
    assert "the run was stopped early" in caplog.text
    assert not set(first) & set(runs.asked_since(len(first)))
    assert same(out, whole)
    assert "stopped" not in orjson.loads((out / "manifest.json").read_bytes())


def test_ctrl_c_twice_stops_now(runs, tmp_path, whole):
    """The second Ctrl-C ends the run without a set; nothing finished is asked again later."""
    out = tmp_path / "run"
    child = runs.start(out, latency_s=3.0)
    await_(lambda: len(finished(out)) > 8)
    child.send_signal(signal.SIGINT)
    assert "Ctrl-C again" in child.stderr.readline() + child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 130 and "Traceback" not in said, said
    assert not (out / "dataset").exists()
    kept, mark = finished(out), len(runs.asked_since())
    assert kept
    assert runs.again(out) == 0
    assert not kept & set(runs.asked_since(mark))
    assert same(out, whole)


def test_a_full_disk_is_a_sentence_and_costs_nothing_finished(runs, tmp_path, whole):
    """A disk that fills up in the journal stops the run; with room again it goes on from there."""
    out = tmp_path / "run"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))"
    done = runs.run(out, before=limit)
    assert done.returncode == 1
    assert "rollouts/journal: the disk is full" in done.stderr and "Traceback" not in done.stderr
    kept, mark = finished(out), len(runs.asked_since())
    assert kept
    assert runs.again(out) == 0
    assert not kept & set(runs.asked_since(mark))
    assert same(out, whole)


@pytest.mark.parametrize(
    ("mount", "says"),
    [
        ("-t tmpfs -o size=16m tmpfs", "the disk is full: 268,435,456 bytes are needed"),
        ("-t tmpfs -o ro,size=1g tmpfs", "cannot be written (Read-only file system)"),
    ],
)
def test_a_disk_that_cannot_hold_a_run_is_refused(tmp_path, mount, says):
    """A real file system that is too small or read-only is refused before the flow starts."""
    shell = f'mount {mount} "$0" && exec "$@"'
    inside = ["unshare", "-Urm", "sh", "-c", shell, str(tmp_path)]
    done = subprocess.run(
        [*inside, sys.executable, "-c", ENTER, str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_a_jumping_clock_changes_nothing(runs, tmp_path, whole):
    """With a wall clock that jumps days forth and back at every look, the bytes are the same."""
    jump = "import time, itertools; real, days = time.time, itertools.cycle([0, 9, -400, 3]); "
    jump += "time.time = lambda: real() + 86400 * next(days)"
    done = runs.run(tmp_path / "run", before=jump)
    assert done.returncode == 0, done.stderr
    assert same(tmp_path / "run", whole)


def test_the_log_says_which_run_step_and_shard(runs, tmp_path):
    """Every finished shard has a line in log.jsonl with its run, step, number and counts."""
    out = tmp_path / "run"
    assert runs.again(out) == 0
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    shards = {(line["run"], line["step"], line["shard"]) for line in lines if line["step"]}
    assert shards >= {("run", name, 0) for name in ("rollouts", "pick", "to_sft")}
    assert all(line["process"] == os.getpid() for line in lines)


def test_show_follows_a_run_to_its_end(runs, tmp_path):
    """`tamis show --follow` prints a running run again and again, and ends with it."""
    out = tmp_path / "run"
    child = runs.start(out)
    command = [sys.executable, "-m", "pipeline", "show", str(out), "--follow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    child.communicate(timeout=60)
    assert done.returncode == child.returncode == 0
    assert "running: process" in done.stdout
    assert done.stdout.count(f"{out}\n") > 1


def test_no_module_reads_the_wall_clock():
    """Only the lock's text has a time of day in it; every wait is by the monotonic clock."""
    found = [
        str(file.relative_to(ROOT))
        for floor in ("pipeline", "scorers", "flows", "sandbox")
        for file in (ROOT / floor).rglob("*.py")
        if any(w in file.read_text() for w in ("time.time(", "datetime.now(", "time_ns(", "today("))
    ]
    assert [one for one in found if one != "sandbox/attend.py"] == ["pipeline/files.py"]


def test_damage_is_named_and_mended(runs, tmp_path, whole, caplog):
    """A flipped byte, a lost shard and torn manifests cost those files and not one request."""
    out = tmp_path / "run"
    assert runs.again(out) == 0
    mark = len(runs.asked_since())
    victim = out / "pick/data/00000.parquet"
    damaged = bytearray(victim.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    victim.write_bytes(damaged)
    (out / "to_sft/data/00000.parquet").unlink()
    for manifest in (
        out / "manifest.json",
        out / "prompts/manifest.json",
        out / "rollouts/manifest.json",
    ):
        manifest.write_bytes(manifest.read_bytes()[:50])
    untouched = (out / "rollouts/data/00000.parquet").stat().st_ino
    assert runs.again(out) == 0
    assert "pick/data/00000.parquet: does not match its commit record" in caplog.text
    assert "rollouts/data" not in caplog.text
    assert (out / "rollouts/data/00000.parquet").stat().st_ino == untouched
    assert same(out, whole)
    assert runs.asked_since(mark) == []


def test_a_torn_manifest_is_one_sentence(runs, tmp_path):
    """Reading a run whose manifests are torn says which file, and what to do."""
    out = tmp_path / "run"
    shutil.copytree(runs.sums.parent, out, ignore=shutil.ignore_patterns("run"))
    (out / "prompts").mkdir()
    (out / "prompts/manifest.json").write_text('{"shards": [')
    command = [sys.executable, "-m", "pipeline", "show", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "prompts/manifest.json" in done.stderr and "the same command again" in done.stderr


def test_a_lock_that_names_a_living_process_but_is_not_held(tmp_path):
    """The kernel's lock counts, not what the file says: a dead run's number may be used again."""
    (tmp_path / ".lock").write_text(f"process {os.getpid()} on somewhere, 2026-01-01T00:00:00")
    with lock_folder(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / ".lock").read_text()
