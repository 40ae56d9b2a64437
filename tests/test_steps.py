"""Steps and recipes: what is lifted, what is counted, what runs again and what does not."""

import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.errors import EngineError, UserError
from pipeline.schema import Sifted, verifier
from pipeline.shards import Shards
from pipeline.steps import Run, active_run, recipe, running, step

pytestmark = pytest.mark.usefixtures("prefect_server")

calls: Counter[str] = Counter()
troubles: list[Exception] = []


@step()
def add(rows, *, amount=1):
    """Add a column y = x + amount."""
    calls["add"] += 1
    return rows.append_column("y", pc.add(rows["x"], amount))


@step()
def small(rows, *, below):
    """Keep x < below."""
    calls["small"] += 1
    keep = pc.less(rows["x"], below)
    kept = rows.filter(keep)
    return Sifted(kept, {"large": len(rows) - len(kept)}, aside=rows.filter(pc.invert(keep)))


@step(scope="dataset")
def ordered(rows):
    """Every row, by x, in one shard."""
    return rows.sort_by("x")


@step()
def match(left, right, *, on="id"):
    """The rows of `left` whose id is in `right`."""
    found = left.filter(pc.is_in(left[on], value_set=right[on]))
    return Sifted(found, {"unmatched": len(left) - len(found)})


@step(scope="dataset")
def stack(*parts):
    """All rows of all parts."""
    return pa.concat_tables(parts)


@step(expands=True)
def vary(rows):
    """Two rows with new ids for each row."""
    ids = [f"{row_id}/{n}" for row_id in rows["id"].to_pylist() for n in range(2)]
    return pa.table({"id": pa.array(ids, pa.string())})


@step()
def lose(rows):
    """Drop a row and say nothing."""
    return rows.slice(1)


@step(retries=1)
def stumble(rows, *, faults=0):
    """Raise the next of the planted troubles, if there is one."""
    calls["stumble"] += 1
    if troubles:
        raise troubles.pop()
    return rows


@step()
def break_odd_shards(rows):
    """Fail on every shard but those that hold r0."""
    calls["break"] += 1
    if "r0" not in rows["id"].to_pylist():
        raise UserError("no r0 here")
    return rows


@step()
def judge(rows, *, by):
    """Judge each row with the function `by`."""
    return rows.append_column("good", pa.array([by(x) for x in rows["x"].to_pylist()]))


@step(free=("workers",))
def work(rows, *, workers):
    """Do nothing, with any number of workers."""
    calls["work"] += 1
    return rows


@step(journal=True, expands=True)
def draw(rows, *, cap, journal, previous):
    """Draw `cap` trials a row, counting as work only what is not in the journal or `previous`."""
    known = {(row["id"], row["trial"]) for row in journal.records}
    if previous is not None:
        known |= set(zip(previous["id"].to_pylist(), previous["trial"].to_pylist(), strict=True))
    wanted = [(row_id, trial) for row_id in rows["id"].to_pylist() for trial in range(cap)]
    fresh = [pair for pair in wanted if pair not in known]
    calls["draw"] += len(fresh)
    if fresh:
        journal.append([{"id": row_id, "trial": trial} for row_id, trial in fresh[:5]])
    if troubles:
        raise troubles.pop()
    ids, trials = [row_id for row_id, _ in wanted], [trial for _, trial in wanted]
    return pa.table({"id": pa.array(ids, pa.string()), "trial": pa.array(trials, pa.int64())})


@pytest.fixture(autouse=True)
def forget_calls():
    """Each test counts its own calls and plants its own troubles."""
    calls.clear()
    troubles.clear()


@pytest.fixture
def pool(tmp_path, numbers) -> Shards:
    """The hundred numbers in four shards."""
    return Shards.write(tmp_path / "pool", numbers, shard_rows=25)


def test_with_tables_a_step_is_the_function(numbers):
    """Called with a table it returns a table, needs no run, and keeps name and docstring."""
    assert add(numbers, amount=2)["y"].to_pylist()[:2] == [2, 3]
    assert small(numbers, below=3).dropped == {"large": 97}
    assert add.__name__ == "add"
    assert add.__doc__.startswith("Add a column")


def test_with_datasets_it_writes_datasets(tmp_path, pool, numbers):
    """The output holds the same rows as the pure functions give, with counts and lineage."""
    with running(Run(tmp_path / "run")):
        result = ordered(small(add(pool), below=40))
    assert result.table().equals(add(numbers.slice(0, 40)).combine_chunks())
    kept = Shards.open(tmp_path / "run" / "small")
    assert (len(kept), kept.rows, kept.layout) == (4, 40, "id/4")
    assert kept.aside().collect().height == 60
    assert kept.lineage == {
        "step": "small",
        "version": 1,
        "parameters": {"below": 40},
        "inputs": [Shards.open(tmp_path / "run" / "add").fingerprint],
        "dropped": {"large": 60},
    }
    assert (len(result), result.layout) == (1, "id/1")


def test_a_second_run_executes_nothing(tmp_path, pool):
    """Finished shards are not made again, and no byte changes."""
    for _ in range(2):
        with running(Run(tmp_path / "run")):
            small(add(pool), below=40)
    assert calls == {"add": 4, "small": 4}


def test_a_changed_parameter_says_what_it_invalidates(tmp_path, pool, caplog):
    """The log names the parameter, old and new; steps after it say that their input changed."""
    for amount in (1, 2):
        with caplog.at_level(logging.WARNING), running(Run(tmp_path / "run")):
            small(add(pool, amount=amount), below=40)
    lines = [record.getMessage() for record in caplog.records if "again" in record.getMessage()]
    assert [line.partition("run/")[2] for line in lines] == [
        "add: 4 of 4 finished shards are made again: parameter amount 1 -> 2",
        "small: 4 of 4 finished shards are made again: its input changed",
    ]
    assert calls == {"add": 8, "small": 8}


def test_resume_modes(tmp_path, pool):
    """'always' refuses to invalidate finished work, 'never' makes everything again."""
    with running(Run(tmp_path / "run")):
        add(pool)
    with (
        pytest.raises(UserError, match=r"4 of 4 finished shards no longer hold \(parameter amount"),
        running(Run(tmp_path / "run", resume="always")),
    ):
        add(pool, amount=2)
    with running(Run(tmp_path / "run", resume="always")):
        add(pool)
    assert calls["add"] == 4
    with running(Run(tmp_path / "run", resume="never")):
        add(pool)
    assert calls["add"] == 8


def test_new_rows_touch_only_their_shards(tmp_path, numbers, caplog):
    """A row added to the pool makes its own shard again and no other."""
    more = pa.concat_tables([numbers, pa.table({"id": ["late"], "x": [100]})])
    for table in (numbers, more):
        pool = Shards.write(tmp_path / "pool", table, shard_rows=32)
        with caplog.at_level(logging.WARNING), running(Run(tmp_path / "run")):
            result = add(pool)
    assert result.rows == 101
    assert calls["add"] == 5
    assert "1 of 4 finished shards are made again: its input changed" in caplog.text


@pytest.mark.parametrize("harm", ["delete", "corrupt", "record"])
def test_a_damaged_shard_is_rebuilt_alone(tmp_path, pool, harm):
    """A deleted or corrupted shard, or a lost record, costs that one shard; bytes are the same."""
    with running(Run(tmp_path / "run")):
        before = add(pool)
    content = {file: file.read_bytes() for file in before.path.rglob("*.*")}
    victim = before.path / "data" / "00002.parquet"
    if harm == "delete":
        victim.unlink()
    elif harm == "corrupt":
        victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    else:
        (before.path / "commits" / "00002.json").unlink()
    with running(Run(tmp_path / "run")):
        add(pool)
    assert calls["add"] == 5
    assert {file: file.read_bytes() for file in before.path.rglob("*.*")} == content


def test_a_raised_version_makes_all_again(tmp_path, pool, caplog):
    """The version is part of the key, and the log says so."""

    def same(rows):
        return rows

    for version in (1, 2):
        with caplog.at_level(logging.WARNING), running(Run(tmp_path / "run")):
            step(version=version)(same)(pool)
    assert "version 1 -> 2" in caplog.text


def test_defaults_and_free_parameters(tmp_path, pool):
    """Naming a default changes nothing, and neither does a free parameter."""
    for keywords, workers in (({}, 1), ({"amount": 1}, 9)):
        with running(Run(tmp_path / "run", resume="always")):
            result = work(add(pool, **keywords), workers=workers)
    assert calls == {"add": 4, "work": 4}
    assert result.lineage["parameters"] == {}


def test_functions_enter_the_digest_by_name_and_version(tmp_path, pool):
    """A marked function is passed as it is and recorded as name@version; others are refused."""
    for version in (1, 3):
        even = verifier(version=version)(lambda x: x % 2 == 0)
        even.__name__ = "even"
        with running(Run(tmp_path / "run")):
            result = judge(pool, by=even)
        assert result.lineage["parameters"] == {"by": f"even@{version}"}
    assert result.scan().select(pl.col("good").sum()).collect().item() == 50
    with pytest.raises(UserError, match="parameter 'by': a function has no stable digest"):
        with running(Run(tmp_path / "run")):
            judge(pool, by=lambda x: True)


def test_several_inputs_must_be_aligned(tmp_path, pool):
    """Shard i meets shard i; datasets placed differently are refused with both layouts."""
    with running(Run(tmp_path / "run")):
        left, right = add(pool), small(pool, below=30)
        assert match(left, right).rows == 30
        assert match(left, right=right, into="by_keyword").rows == 30
        with pytest.raises(UserError, match=r"'left' has 4 shards \(id/4\) but 'right' has 1"):
            match(left, ordered(right), into="unaligned")


def test_any_number_of_inputs(tmp_path, pool):
    """A step with *tables takes datasets of any layout whole, and counts them together."""
    with running(Run(tmp_path / "run")):
        assert stack(pool, ordered(pool)).rows == 200


def test_new_ids_make_another_layout(tmp_path, pool):
    """Rows with new ids stay where their parents are, so they do not align with rows by id."""
    with running(Run(tmp_path / "run")):
        varied = vary(pool)
        assert (varied.rows, varied.layout) == (200, "vary of id/4")
        with pytest.raises(UserError, match="aligned"):
            match(varied, pool)


def test_rows_must_add_up(tmp_path, pool):
    """A step that drops a row without a reason is stopped, with both numbers."""
    with pytest.raises(UserError, match=r"'lose': (\d+) rows in, but (\d+) kept \+ 0 dropped"):
        with running(Run(tmp_path / "run")):
            lose(pool)


def test_one_name_once_a_run(tmp_path, pool):
    """The same step twice is an error that tells how to name the second; `into` does."""
    with running(Run(tmp_path / "run")):
        first = add(pool)
        with pytest.raises(UserError, match=r"already has a step 'add'.*into='add_2'"):
            add(first)
        assert add(pool, amount=5, into="add_2").path.name == "add_2"


def test_outside_a_run_datasets_are_refused(pool):
    """There is nowhere to write to, and the error says what to do."""
    with pytest.raises(UserError, match="no run is active"):
        add(pool)


def test_every_shard_finishes_before_the_first_failure_is_raised(tmp_path, pool):
    """Three of four shards fail; all four are tried and the good one stays committed."""
    with pytest.raises(UserError, match="no r0 here"):
        with running(Run(tmp_path / "run")):
            break_odd_shards(pool)
    assert calls["break"] == 4
    commits = tmp_path / "run" / "break_odd_shards" / "commits"
    assert len(list(commits.glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("trouble", "attempts"), [(EngineError("gone"), 2), (OSError("io"), 2), (UserError("no"), 1)]
)
def test_only_infrastructure_is_retried(tmp_path, numbers, monkeypatch, trouble, attempts):
    """EngineError and OSError are tried again; a UserError is the user's to mend."""
    monkeypatch.setattr("pipeline.prefect_home.RETRY_AFTER_S", 0)
    troubles.append(trouble)
    pool = Shards.write(tmp_path / "pool", numbers)
    try:
        with running(Run(tmp_path / "run")):
            stumble(pool)
    except UserError as fault:
        assert fault is trouble
    assert calls["stumble"] == attempts


def test_a_journal_outlives_a_failure(tmp_path, numbers):
    """What was journaled before a failure is not drawn again; after the commit it is gone."""
    pool = Shards.write(tmp_path / "pool", numbers.slice(0, 10))
    troubles.append(UserError("stop"))
    with pytest.raises(UserError, match="stop"), running(Run(tmp_path / "run")):
        draw(pool, cap=1)
    assert (tmp_path / "run" / "draw" / "journal" / "00000.jsonl").exists()
    with running(Run(tmp_path / "run")):
        result = draw(pool, cap=1)
    assert calls["draw"] == 10 + 5
    assert {file.name for file in result.path.iterdir()} == {"data", "commits", "manifest.json"}


def test_rows_of_an_earlier_version_are_reused(tmp_path, numbers):
    """A higher cap, new rows and twice the shards draw only what is new, also after a failure."""
    pool = Shards.write(tmp_path / "pool", numbers.slice(0, 50), shard_rows=25)
    with running(Run(tmp_path / "run")):
        draw(pool, cap=2)
    assert calls["draw"] == 100
    pool = Shards.write(tmp_path / "pool", numbers, shard_rows=25)
    troubles.append(UserError("stop"))
    with pytest.raises(UserError, match="stop"), running(Run(tmp_path / "run", workers=1)):
        draw(pool, cap=3)
    calls.clear()
    with running(Run(tmp_path / "run")):
        result = draw(pool, cap=3)
    assert (len(result), result.rows) == (4, 300)
    assert 0 < calls["draw"] < 100  # of 200 new ones, three shards had finished theirs
    assert not (result.path / "previous").exists()


def test_a_recipe_is_a_flow(tmp_path, pool, monkeypatch):
    """It is a Prefect flow that knows its paper and output, and runs alone into runs/<name>."""

    @recipe(paper="arXiv:0000.00000", output="sft")
    def tiny(amount: int = 1) -> Shards:
        """Add, then order."""
        return ordered(add(pool, amount=amount))

    assert (tiny.paper, tiny.output, tiny.name) == ("arXiv:0000.00000", "sft", "tiny")
    assert tiny.parameters.properties["amount"]["default"] == 1
    with running(Run(tmp_path / "run")):
        inside = tiny(amount=2)
    monkeypatch.chdir(tmp_path)
    assert tiny(amount=2).fingerprint == inside.fingerprint
    assert (tmp_path / "runs" / "tiny" / "ordered" / "manifest.json").exists()


def test_shards_run_at_the_same_time(tmp_path, pool):
    """With four workers four shards meet at a barrier, which one after another could not."""
    barrier = threading.Barrier(4, timeout=20)

    def meet(rows):
        barrier.wait()
        return rows

    with running(Run(tmp_path / "run", workers=4)):
        assert step()(meet)(pool).rows == 100


def test_one_process_a_run(tmp_path, prefect_server):
    """A second process on the same folder is told who holds it."""
    toy = Path(__file__).with_name("toy_flow.py")
    with running(Run(tmp_path / "run")):
        assert active_run().folder == tmp_path / "run"
        done = subprocess.run(
            [sys.executable, str(toy), str(tmp_path / "run"), str(tmp_path / "marks"), "2"],
            env={
                **os.environ,
                "PREFECT_API_URL": prefect_server,
                "PYTHONPATH": str(toy.parents[1]),
            },
            capture_output=True,
            text=True,
        )
    assert f"in use by process {os.getpid()} on " in done.stderr
    assert not (tmp_path / "marks").exists()


def test_an_unknown_runner_is_a_sentence(tmp_path):
    """A runner that is not there is refused before any work."""
    with pytest.raises(UserError, match="runner 'slurm'"), running(Run(tmp_path, runner="slurm")):
        pass


def test_prefect_is_quiet_and_talks_to_nobody():
    """Telemetry is off in the settings that Prefect really uses."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    assert settings.server.analytics_enabled is False
    assert settings.logging.level == "WARNING"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_steps_import_without_prefect():
    """Importing shards, journal and steps loads no prefect; a recipe does."""
    script = "import sys, pipeline.steps, pipeline.shards, pipeline.journal; "
    script += "sys.exit('prefect' in sys.modules)"
    root = str(Path(__file__).parents[1])
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)
