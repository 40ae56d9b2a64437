"""README and CONTRIBUTING say what is there, and their code runs."""

import re
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.catalog import find_recipes
from pipeline.steps import Run, running

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / ".github/CONTRIBUTING.md").read_text(encoding="utf-8")


def test_recipe_table_is_true() -> None:
    """The README's table has exactly the recipes that there are, with file, paper and output."""
    line = r"^\| \[`(\w+)`\]\((\S+)\) \| (\S+) \| (\w+) \| (.+) \|$"
    rows = re.findall(line, README, re.MULTILINE)
    entries = [
        (e.name, e.module.replace(".", "/") + ".py", e.paper, e.output, e.ran_on)
        for e in find_recipes()
    ]
    assert sorted(rows) == sorted(entries)


def test_commands_exist(capsys) -> None:
    """Every `tamis COMMAND` in the README is a command of the parser."""
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^    ([a-z-]+) ", capsys.readouterr().out, re.MULTILINE))
    named = set(re.findall(r"\btamis ([a-z][a-z-]+)", README))
    assert named and named <= known | {"says"}


def test_linked_files_exist() -> None:
    """Every relative link of both pages points to a file."""
    for text, base in ((README, ROOT), (CONTRIBUTING, ROOT / ".github")):
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (base / target).exists(), target


@pytest.mark.usefixtures("prefect_server")
def test_contributed_recipe_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example recipe of CONTRIBUTING, pasted into a file, makes rows."""
    code = re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.DOTALL)[0]
    (tmp_path / "contributed.py").write_text(code, encoding="utf-8")
    prompts = tmp_path / "sums.csv"
    lines = [f"What is {a} + 5?,{a + 5}" for a in range(8)]
    prompts.write_text("\n".join(["prompt,answer", *lines]), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    from contributed import keep_correct

    with running(Run(tmp_path / "run")):
        model = "scripted:tests.scripts_for_engines:adds"
        rows = keep_correct(prompts=str(prompts), model=model, k=4)
    assert rows.rows > 8
