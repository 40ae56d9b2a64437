"""`tamis select` and `tamis select compare` as a user meets them."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.__main__ import main
from pipeline.reporting.comparison import measure_picks, tell, write_page
from pipeline.shards import Shards


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Forty rows as a user's CSV file, two of them alike but for case."""
    file = tmp_path / "pool.csv"
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["ask", "say", "kind"])
        for i in range(38):
            writer.writerow([f"Say number {i} in words.", f"It is the number {i}.", f"k{i % 3}"])
        writer.writerow(["SAY number 0 in words.", "It is the number 0.", "k0"])
        writer.writerow(["Say number 7 in words.", "It is the  number 7.", "k1"])
    return file


COLUMNS = ["columns.prompt=ask", "columns.completion=say", "columns.source=kind"]


def flags(*settings: str) -> list[str]:
    """Settings as words of a command."""
    return [word for one in (*COLUMNS, *settings) for word in ("--set", one)]


@pytest.mark.usefixtures("prefect_server")
class TestSelect:
    """Runs in this process, on the session's Prefect server."""

    def test_choosing_from_a_file(self, pool: Path, tmp_path: Path, capsys) -> None:
        """A method runs on the user's own columns; the funnel adds up and the dataset loads."""
        out = tmp_path / "out"
        assert main(["select", "dedup", "--pool", str(pool), *flags(), "--out", str(out)]) == 0
        said = capsys.readouterr()
        assert "480" not in said.out and "nano" not in said.err and "Cost" not in said.out
        rows = Shards.open(out / "to_rows").table().to_pylist()
        assert len(rows) == 38 and rows[0]["messages"][-1]["role"] == "assistant"
        assert Shards.open(out / "select").lineage["dropped"] == {"duplicate": 2}
        assert main(["export", str(out), "--to", "trl"]) == 0
        assert main(["check", str(out / "export/trl-sft")]) == 0

    def test_fewer_than_asked_for_is_said(self, pool: Path, tmp_path: Path, capsys) -> None:
        """Asked for more rows than there are, all come and the command says that they are fewer."""
        words = ["select", "baseline", "--pool", str(pool), *flags("limit=5"), "--n", "9"]
        assert main([*words, "--out", str(tmp_path / "o")]) == 0
        assert "5 of the 9 rows asked for could be chosen" in capsys.readouterr().err
        assert main([*words[:-1], "5", "--out", str(tmp_path / "p")]) == 0
        assert "asked for" not in capsys.readouterr().err

    def test_methods_side_by_side(self, pool: Path, tmp_path: Path, capsys) -> None:
        """Two methods on one pool are told and drawn; a setting may be one method's alone."""
        out = tmp_path / "both"
        words = ["select", "compare", "baseline", "dedup", "--pool", str(pool), "--n", "9"]
        settings = flags("limit=12", "baseline.by=longest")
        assert main([*words, *settings, "--out", str(out)]) == 0
        said = capsys.readouterr().out
        assert "Rows in common" in said and "9 (100%)" in said and "the pool" in said
        page = (out / "report.html").read_text()
        assert page.count("<svg") == 4 and "k0" in page
        assert "by: longest" in (out / "baseline/config.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dart_math"], "'dart_math' selects nothing; methods: baseline"),
        (["rds_plus", "kmq"], "one method at a time, not 2"),
        (["compare", "kmq"], "1 methods to compare (kmq); name 2 different"),
        (
            ["compare", "kmq", "deita", "--set", "tauu=1"],
            "none of kmq, deita has a parameter 'tauu'",
        ),
        (["dedup", "--n", "5"], "there is no parameter 'n'"),
    ],
)
def test_faults_are_one_sentence(words: list[str], said: str, tmp_path: Path, capsys) -> None:
    """A wrong method, a lone one to compare and unknown settings are refused in one sentence."""
    assert main(["select", *words, "--pool", "nano_world", "--out", str(tmp_path / "o")]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "Traceback" not in error


def test_a_comparison_counts(tmp_path: Path) -> None:
    """Overlap, source shares and medians are those of the rows picked; the page stands alone."""
    ids = [f"r{i}" for i in range(20)]
    sources = ["a"] * 15 + ["<b>"] * 5
    facts = pa.table({"id": ids, "source": sources, "chars": [10] * 10 + [30] * 10})
    losses = np.where(np.arange(20) < 19, np.arange(20) / 10, np.nan)
    vectors = np.random.default_rng(0).normal(size=(20, 4))
    vectors[3] = np.nan
    picks = {"one": ids[:4], "two": ids[2:10] + ids[18:]}
    found = measure_picks(facts, losses, vectors, picks)
    assert found.common.tolist() == [[4, 2], [2, 10]]
    assert found.measures[2].sources == {"a": 8, "<b>": 2} and found.measures[1].rows == 4
    text = tell(found)
    assert "2 (50%)" in text and "20.0 %" in text and "0.15" in text
    write_page(tmp_path / "r.html", found, {"pool": "p"})
    page = (tmp_path / "r.html").read_text()
    assert "&lt;b&gt;" in page and "<b>" not in page and "http" not in page
