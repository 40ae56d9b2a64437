"""The rules of the house: floors, sizes, names, who may import what."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {"sandbox": 1, "pipeline": 2, "scorers": 3, "flows": 4}
SOURCES = sorted(file for floor in FLOORS for file in (ROOT / floor).rglob("*.py"))
ONLY = {  # module -> the files that may import it
    "prefect": {"pipeline/steps.py"}
    | {f"pipeline/prefect_{part}.py" for part in ("home", "deploy", "artifacts", "runners")},
    "vllm": {"pipeline/engines/vllm_offline.py"},
    "pyarrow.parquet": {"pipeline/shards.py"},
}
# Modules that are a list of things: the shapes everyone shares, and one function a subcommand.
MANY_NAMES = {"pipeline/schema.py", "pipeline/commands.py"}


def imports_of(file: Path) -> list[str]:
    """Every module that a file imports anywhere, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def name_of(file: Path) -> str:
    """A file's path from the root."""
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_imports_run_downwards(file: Path) -> None:
    """No package imports from a floor above its own; the sandbox imports none of ours at all."""
    own = file.relative_to(ROOT).parts[0]
    for module in imports_of(file):
        package = module.partition(".")[0]
        if package in FLOORS and package != own:
            assert FLOORS[package] < FLOORS[own], f"{file}: imports {module}"


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_doors_are_few(file: Path) -> None:
    """Prefect, vLLM and Parquet each have the modules that may open them, and no others do."""
    for module in imports_of(file):
        for door, allowed in ONLY.items():
            if module == door or module.startswith(door + "."):
                assert name_of(file) in allowed, f"{file}: imports {module}"


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_sizes_and_names(file: Path) -> None:
    """Files end at 300 lines and functions at 40; a module has few public names and a docstring."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{file}: no docstring"
    assert len(text.splitlines()) <= 300, f"{file}: {len(text.splitlines())} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
            length = (node.end_lineno or 0) - body[0].lineno + 1
            assert length <= 40, f"{file}: {node.name} has {length} lines"
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    public = [n.name for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]
    assert name_of(file) in MANY_NAMES or len(public) <= 8, f"{file}: {public}"


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("test_*.py")), ids=name_of)
def test_every_test_says_what_it_proves(file: Path) -> None:
    """Each test has a docstring, and it is a sentence."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            says = ast.get_docstring(node) or ""
            assert says.rstrip("`").endswith("."), f"{file}: {node.name}"


def test_no_drawer_for_everything() -> None:
    """No file is called utils, helpers, common, misc, base, manager or core."""
    bad = re.compile(r"^(utils?|helpers?|common|misc|base|manager|core)\.py$")
    assert not [file for file in SOURCES if bad.match(file.name)]


def test_root_holds_what_was_agreed() -> None:
    """The top level is the fixed one: four packages, tests, data, project files, dot folders."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    top = {name.partition("/")[0] for name in listed}
    agreed = {*FLOORS, "tests", "data", "pyproject.toml", "README.md", "Makefile", "LICENSE"}
    extra = {name for name in top - agreed if name[0] != "." and not name.endswith(".lock")}
    assert not extra


@pytest.mark.parametrize("module", ["pipeline", "sandbox", "scorers", "pipeline.__main__"])
def test_import_is_light(module: str) -> None:
    """Importing a package or the command line loads neither prefect nor torch nor vllm."""
    heavy = "{'prefect', 'torch', 'vllm', 'transformers', 'datasets'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_wheel_holds_the_four_packages(tmp_path: Path) -> None:
    """The wheel, unpacked, has exactly the four names, and lists a recipe from another folder."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run([*build, "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "site"
    unpack = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*unpack, str(wheel)], check=True)
    names = {p.name for p in target.iterdir() if p.is_dir() and ".dist-info" not in p.name}
    assert names - {"bin"} == set(FLOORS)
    answer = subprocess.run(
        [sys.executable, "-m", "pipeline", "list"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "dart_math" in answer.stdout


def test_strangers_are_named(tmp_path: Path) -> None:
    """A foreign folder called flows that would hide ours is refused in one sentence."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("")
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pipeline.__main__ import main; raise SystemExit(main(['list']))",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert "hides Tamis's own" in answer.stderr and "Traceback" not in answer.stderr
