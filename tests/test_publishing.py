"""Builds that come back: only what is new is asked, gates hold, `latest` is never half a set."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from pipeline.__main__ import main
from pipeline.builds import SERVICE, Service
from pipeline.publishing import Gates, find_failures, publish
from pipeline.reporting.diff import find_changes
from pipeline.shards import Shards
from tests.toy_runs import build as build_toy

ROOT = Path(__file__).resolve().parents[1]
MODEL = "model=scripted:tests.scripts_for_engines:adds_and_notes"


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    """Forty sums in a file that grows; what the model was asked is written down beside it."""
    monkeypatch.setenv("TAMIS_ASKED", str(tmp_path / "asked"))
    add(tmp_path / "sums.jsonl", 5)
    return tmp_path / "sums.jsonl"


def add(file: Path, b: int) -> None:
    """Append forty sums with second number `b`."""
    rows = [{"prompt": f"What is {a} + {b}?", "answer": str(a + b)} for a in range(40)]
    with file.open("a") as out:
        out.write("".join(json.dumps(row) + "\n" for row in rows))


def deploy(source: Path, *more: str) -> list[str]:
    """A deployment of dart_math on the sums."""
    sets = [f"prompts={source}", MODEL, "k=2", "max_trials=8", "max_tokens=50"]
    flags = [word for one in sets for word in ("--set", one)]
    return ["deploy", "dart_math", "--out", str(source.with_name("sums")), *flags, *more]


def asked(source: Path) -> list[str]:
    """Every request so far."""
    return source.with_name("asked").read_text().split()


@pytest.mark.usefixtures("prefect_server")
class TestBuilds:
    """Builds in this process, on the session's Prefect server."""

    def test_a_grown_source_asks_only_its_new_rows(self, source) -> None:
        """The second build asks nothing again, keeps every row, and says what came."""
        place = source.with_name("sums")
        assert main(deploy(source, "--once")) == 0
        first, before = asked(source), (place / "latest").resolve()
        old = {file: file.read_bytes() for file in before.rglob("*") if file.is_file()}
        add(source, 7)
        assert main(deploy(source, "--once")) == 0
        now = (place / "latest").resolve()
        assert now != before
        assert len(set(asked(source))) == len(asked(source)) > len(first)
        rows = [set(Shards.open(s / "to_sft").table()["row_id"].to_pylist()) for s in (before, now)]
        assert rows[0] < rows[1]
        assert "only in B" in (place / "build.md").read_text()
        assert {file: file.read_bytes() for file in before.rglob("*") if file.is_file()} == old
        assert (now / "summary.md").exists() and (now / "plot.svg").exists()

    def test_nothing_new_publishes_nothing_new(self, source) -> None:
        """A build of an unchanged source asks nothing and leaves one set."""
        place = source.with_name("sums")
        for _ in range(2):
            assert main(deploy(source, "--once")) == 0
        assert len(list((place / "sets").iterdir())) == 1
        assert len(asked(source)) == len(set(asked(source)))

    def test_a_failed_gate_keeps_the_last_set_and_says_why(self, source, capfd) -> None:
        """Coverage, drops and contamination each stop a build in words with numbers."""
        place = source.with_name("sums")
        assert main(deploy(source, "--once")) == 0
        before = (place / "latest").resolve()
        bench = source.with_name("bench.jsonl")
        bench.write_text(json.dumps({"prompt": "What is 11 + 5?", "answer": "16"}) + "\n")
        source.write_text(source.read_text().splitlines()[11] + "\n")
        add(source, 1_000_000_007)
        gates = ["min_coverage=0.99", "max_drop=0.01", f"benchmark={bench}"]
        words = [word for gate in gates for word in ("--gate", gate)]
        capfd.readouterr()
        assert main(deploy(source, "--once", "--set", "max_trials=4", *words)) == 1
        said = capfd.readouterr().err
        for part in ("below min_coverage = 99.0 %", "above max_drop = 1.0 %", "of 1 items of"):
            assert part in said
        assert f"{place / 'latest'} stays as it was" in said and "Traceback" not in said
        assert (place / "latest").resolve() == before
        assert (place / "build.md").read_text().startswith("# Not published")

    def test_an_empty_set_is_never_published(self, source, capfd) -> None:
        """A build in which nothing was solved leaves the last set where it is, without any gate."""
        place = source.with_name("sums")
        assert main(deploy(source, "--once")) == 0
        before = (place / "latest").resolve()
        source.write_text(source.read_text().replace('"answer": "', '"answer": "-9'))
        assert main(deploy(source, "--once")) == 1
        assert "the set has 0 rows" in capfd.readouterr().err
        assert (place / "latest").resolve() == before

    def test_a_deployment_runs_the_recipe_and_publishes(self, source, prefect_server) -> None:
        """Served for a schedule and started by the server, the flow builds and publishes."""
        place = source.with_name("sums")
        environment = {
            **os.environ,
            "PREFECT_API_URL": prefect_server,
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PYTHONPATH": str(ROOT),
        }
        words = deploy(source, "--cron", "0 3 * * *", "--gate", "min_coverage=0.1")
        command = [sys.executable, "-m", "pipeline", *words]
        log = source.with_name("log").open("wb")
        served = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            start = [sys.executable, "-m", "prefect", "deployment", "run", "dart_math/sums"]
            deadline = time.monotonic() + 100
            while not (place / "latest").exists():
                assert time.monotonic() < deadline, source.with_name("log").read_text()[-3000:]
                if start and b"being served" in source.with_name("log").read_bytes():
                    subprocess.run(start, env=environment, check=True, capture_output=True)
                    start = []
                time.sleep(0.2)
        finally:
            served.terminate()
            served.wait()
            log.close()
        assert Shards.open(place / "latest/to_sft").rows > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cron", "every night"], "'every night' is no schedule"),
        (["--cron", "0 3 * * *"], "needs a Prefect server that stays"),
        ([], "say when to build"),
        (["--once", "--gate", "min_covrage=1"], "did you mean min_coverage?"),
    ],
)
def test_what_cannot_be_deployed_is_one_sentence(source, capfd, words, says) -> None:
    """A bad schedule, no standing server, no time and a misspelt gate are refused at once."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert main(deploy(source, *words)) == 1
    said = capfd.readouterr().err
    assert says in said and "Traceback" not in said


def test_a_work_pool_gets_a_file_beside_the_builds(source, capsys) -> None:
    """`--pool` writes PLACE/prefect.yaml with entry point, schedule, parameters and gates."""
    words = ["--cron", "0 3 * * *", "--pool", "gpus", "--gate", "max_drop=0.9"]
    assert main(deploy(source, *words)) == 0
    file = source.with_name("sums") / "prefect.yaml"
    assert str(file) in capsys.readouterr().out
    (found,) = yaml.safe_load(file.read_text())["deployments"]
    path, _, name = found["entrypoint"].partition(":")
    assert (ROOT / path).is_file() and name == "dart_math"
    assert found["schedules"] == [{"cron": "0 3 * * *", "active": True}]
    assert found["parameters"]["k"] == 2
    service = json.loads(found["work_pool"]["job_variables"]["env"]["TAMIS_SERVICE"])
    assert service["gates"]["max_drop"] == 0.9 and service["place"] == str(file.parent)


def test_a_shift_of_lengths_is_a_gate(tmp_path) -> None:
    """The median tokens of kept rollouts may move by as much as the gate says, and no more."""
    runs = [build_toy(tmp_path / f"{n}", prompts=n) for n in (1, 3)]
    before, now = find_changes(*runs)["lengths"]["median"]
    shift = abs(now - before) / before
    assert shift > 0
    (said,) = find_failures(runs[1], runs[0], Gates(max_length_shift=shift * 0.99))
    assert f"from {before:.0f} to {now:.0f} tokens" in said
    assert find_failures(runs[1], runs[0], Gates(max_length_shift=shift * 1.01)) == []


# Publishes in a fork that kills itself at its n-th change of the file system.
KILLED = """
import os, signal, sys
from pathlib import Path
import pipeline.publishing as publishing
os.fsync = lambda handle: None
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink", "shutil.rmtree"}
def killed(instant):
    if (pid := os.fork()) == 0:
        seen = 0
        def count(event, arguments):
            nonlocal seen
            writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in CHANGES or writes:
                seen += 1
                if seen == instant:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        publishing.publish(Path(sys.argv[1]), Path(sys.argv[2]))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def names():
    latest = Path(sys.argv[2]) / "latest"
    return sorted(str(f.relative_to(latest)) for f in latest.rglob("*") if f.is_file())
instant, seen = 1, []
while killed(instant):
    seen.append(names())
    instant += 1
whole = names()
before, after = seen[0], whole
assert all(one in (before, after) for one in seen), "half a set"
print(instant, before != after)
"""


def test_latest_is_whole_whenever_the_publisher_dies(tmp_path) -> None:
    """Killed before each change of the disk, `latest` shows the old set or the new one, whole."""
    run, place = build_toy(tmp_path / "run", prompts=6), tmp_path / "place"
    (run / "manifest.json").write_text("1")
    (run / "old").write_text("this file is only in the old set")
    first = publish(run, place)
    (run / "old").unlink()
    (run / "manifest.json").unlink()
    (run / "manifest.json").write_text("2")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(run), str(place)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    instants, changed = done.stdout.split()
    assert (int(instants) > 20, changed) == (True, "True")
    assert (first / "old").exists() and (first / "manifest.json").read_text() == "1"
    assert not list((place / "sets").glob(".*"))


def test_a_later_build_cannot_reach_into_a_set(tmp_path) -> None:
    """The progress log, the one file that grows in place, is a copy; locks stay out."""
    run = build_toy(tmp_path / "run", prompts=6)
    (run / ".lock").write_text("")
    (run / "manifest.json").write_text("1")
    found = publish(run, tmp_path / "place")
    size = (found / "progress.jsonl").stat().st_size
    with (run / "progress.jsonl").open("a") as file:
        file.write("{}\n")
    assert (found / "progress.jsonl").stat().st_size == size
    assert not (found / ".lock").exists()


def test_a_builds_lines_are_on_prefects_page(source, tmp_path, prefect_server):
    """A deployed flow sends its folder to the flow run's log and each shard to its task run's."""
    service = json.dumps(Service(str(tmp_path / "builds"))._asdict())
    given = {"prompts": str(source), "model": MODEL.partition("=")[2], "budget": "fixed", "k": 1}
    code = f"from pipeline.catalog import load_recipe; load_recipe('dart_math')(**{given})"
    words = {SERVICE: service, "PREFECT_API_URL": prefect_server}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | words)
    deadline = time.monotonic() + 60
    while len(lines := _logged(prefect_server, str(tmp_path), "shard 0 of 1")) < 4:
        assert time.monotonic() < deadline, lines
        time.sleep(0.2)
    assert sum(line["task_run_id"] is None for line in lines) == 1
    assert len({line["flow_run_id"] for line in lines}) == 1


def _logged(url: str, folder: str, word: str) -> list[dict]:
    """Return what the log of the flow run that names a folder says of it, or with a word."""
    lines = httpx.post(f"{url}/logs/filter", json={"sort": "TIMESTAMP_DESC"}).json()
    run = {line["flow_run_id"] for line in lines if folder in line["message"]}
    ours = [line for line in lines if line["flow_run_id"] in run]
    return [line for line in ours if folder in line["message"] or word in line["message"]]
