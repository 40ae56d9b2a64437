"""`tamis rank`: choose a program for each task by the tests that a model wrote, both unreliable.

A task is a line of the codes file, {"id" or "prompt", "samples": [reply, ...]}, and the line of the
tests file with the same id or prompt, {..., "tests": [assertion or reply, ...]}; either may name an
"entry_point". A task is journalled as soon as it is ranked, beside the output, which is written as
a whole at the end; what an earlier run ranked from the same input is not run again.
"""

import inspect
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
import orjson

from pipeline.errors import UserError
from pipeline.files import lock_folder, write_file
from pipeline.journal import Journal
from pipeline.schema import digest
from scorers.assertions import extract_asserts
from scorers.code_blocks import extract_code
from scorers.consensus import Ranking, b4, codedpo, codet, dstc, max_pass, mbr_exec
from scorers.program_text import distinct, parse
from scorers.programs import PassMatrix, pass_matrix, trivial_tests
from scorers.rank_files import Task, index_tasks, read_rankings, read_tasks

_VERSION = 1  # raise it when the same input may rank otherwise
METHODS: dict[str, Callable[..., Ranking]] = {
    "b4": b4,
    "codet": codet,
    "codedpo": codedpo,
    "mbr": mbr_exec,
    "maxpass": max_pass,
    "dstc": dstc,
}

Count = Literal["programs", "samples"]


class Summary(NamedTuple):
    """What a ranking came to, in tasks; `reused` were ranked by an earlier run."""

    tasks: int
    chosen: int
    reused: int
    without_tests: int
    without_codes: int


class _How(NamedTuple):
    """The parameters that enter every task's digest."""

    method: str
    options: dict[str, Any]
    counted: Count


def rank(
    codes: Path,
    tests: Path,
    out: Path,
    *,
    method: str,
    settings: Mapping[str, Any],
    count: Count = "programs",
    workers: int = 2,
) -> Summary:
    """Rank every task of `codes` into a line of `out`, in input order.

    `settings` are options of the method (`scorers.consensus`); count: whether a program counts
    once or as often as it was sampled. Raises UserError for a bad line, naming it, before anything
    runs, and if `out` holds anything else than such rankings.
    """
    if workers < 1:
        raise UserError(f"--workers is {workers}; give 1 or more")
    how = _How(method, _options(method, settings), count)
    samples, suites = index_tasks(codes, "samples"), index_tasks(tests, "tests")
    if samples and not samples.keys() & suites.keys():
        raise UserError(
            f"none of the {len(samples)} tasks of {codes} is among the {len(suites)} of {tests}; "
            "give both files the same id, or the same prompt"
        )
    known = read_rankings(out, method)
    work = out.with_name(f".{out.name}.work")
    with lock_folder(work), closing(Journal.open(work / "ranked.jsonl")) as journal:
        known |= {record["digest"]: record for record in journal.records}
        tasks = read_tasks(codes, samples, tests, suites)
        keys, reused = _rank_all(tasks, how, known, journal, workers)
        records = [known[key] for key in keys]
        lines = [orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records]
        write_file(out, b"".join(lines))
    shutil.rmtree(work, ignore_errors=True)
    return Summary(
        len(records),
        sum(record["chosen"] is not None for record in records),
        reused,
        len(samples.keys() - suites.keys()),
        len(suites.keys() - samples.keys()),
    )


def _rank_all(
    tasks: Iterable[Task],
    how: _How,
    known: dict[str, dict[str, Any]],
    journal: Journal,
    workers: int,
) -> tuple[list[str], int]:
    """Rank what is not in `known` yet, into it; return all digests and how many were known."""
    from sandbox import Sandbox, SandboxUnavailable

    keys: list[str] = []
    reused = 0
    with Sandbox(workers=workers) as box:  # starts with its first program
        for task in tasks:
            key = digest(_VERSION, *how, *task)
            keys.append(key)
            reused += key in known
            if key not in known:
                try:
                    record = _rank_task(task, how, box) | {"digest": key}
                except SandboxUnavailable as error:
                    raise UserError(f"the sandbox cannot run here: {error}") from error
                journal.append([record])
                known[key] = record
    return keys, reused


def _rank_task(task: Task, how: _How, box: Any) -> dict[str, Any]:
    """Run one task's programs and tests and rank them."""
    entry_point = task.entry_point
    codes = [extract_code(sample, entry_point) for sample in task.samples]
    places = [place for place, code in enumerate(codes) if code is not None]
    wanted, unreadable = _single_tests(task.tests, entry_point)
    trivial = trivial_tests(wanted, sandbox=box, entry_point=entry_point)
    useful = [test for test, is_trivial in zip(wanted, trivial, strict=True) if not is_trivial]
    found = [code for code in codes if code is not None]
    matrix = pass_matrix(found, useful, sandbox=box, entry_point=entry_point)
    weights = matrix.programs.copies if how.counted == "samples" else None
    ranking = METHODS[how.method](matrix.passed, weights=weights, **how.options)
    samples = _samples_of(matrix, places)
    best = _best(matrix, ranking)
    first = samples[best[0]][0] if best else None
    return {
        **task.name,
        "method": how.method,
        "options": how.options,
        "counted": how.counted,
        "chosen": matrix.programs.texts[best[0]] if best else None,
        "chosen_sample": first,
        "tie_group": sorted(place for row in best for place in samples[row]),
        "unresolved": None if best else _why_unresolved(matrix),
        "ranking": [_group(matrix, ranking, samples, rows) for rows in ranking.groups],
        "programs": len(matrix.programs.texts),
        "tests": matrix.tests.texts,
        "left_out": {
            "samples_without_code": len(codes) - len(places),
            "unreadable_tests": unreadable,
            "trivial_tests": int(trivial.sum()),
            "cells_not_judged": int((matrix.passed < 0).sum()),
        },
    }


def _group(
    matrix: PassMatrix, ranking: Ranking, samples: Sequence[list[int]], rows: Sequence[int]
) -> dict[str, Any]:
    """Describe one tie group: its score (null: may not be chosen), its samples, tests passed."""
    score = float(ranking.scores[rows[0]])
    return {
        "score": score if np.isfinite(score) else None,
        "samples": sorted(place for row in rows for place in samples[row]),
        "passed": [int((matrix.passed[row] == 1).sum()) for row in rows],
    }


def _best(matrix: PassMatrix, ranking: Ranking) -> tuple[int, ...]:
    """Return the winners; none where nothing tells that they are right: they pass no test."""
    passing = (matrix.passed == 1).any(axis=1)
    return ranking.best if any(passing[row] for row in ranking.best) else ()


def _why_unresolved(matrix: PassMatrix) -> str:
    if not matrix.programs.texts:
        return "no_programs"
    if not matrix.tests.texts:
        return "no_tests"
    return "nothing_passed" if (matrix.passed >= 0).any() else "not_judged"


def _samples_of(matrix: PassMatrix, places: Sequence[int]) -> list[list[int]]:
    """Return, for each row of the matrix, the places of its samples in the task."""
    samples: list[list[int]] = [[] for _ in matrix.programs.texts]
    for place, row in zip(places, matrix.programs.places, strict=True):
        samples[row].append(place)
    return samples


def _single_tests(given: Sequence[str], entry_point: str | None) -> tuple[list[str], int]:
    """Split what was given into distinct single tests; count what holds none."""
    tests: list[str] = []
    unreadable = 0
    for text in given:
        found = extract_asserts(text, entry_point)
        tree = None if found else parse(text)
        if tree is not None and tree.body:
            found = [text]  # a test of another kind: the sandbox decides whether it checks anything
        unreadable += not found
        tests += found
    return distinct(tests).texts, unreadable


def _options(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check options against the method's signature; return all of them, defaults included."""
    function = METHODS[method]
    kinds = get_type_hints(function)
    known = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty and name != "weights"
    }
    for name, value in settings.items():
        if name not in known:
            raise UserError(f"{method} has no option '{name}'; it takes: {', '.join(known) or '-'}")
        if not _fits(value, kinds[name]):
            raise UserError(f"{method}: {name} = {value!r} will not do; its default: {known[name]}")
    return known | dict(settings)


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind
