"""`tamis check`: what a trainer would drop, cut or mis-mask of an export, before it is trained on.

The data file is read with the trainers' own loader (`datasets`), the rules of `conversations` are
put to every row, and where the trainer is installed its own converter is asked too (`converters`).
Nothing is written and nothing is fetched.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml

from pipeline.checkout import NANO
from pipeline.errors import UserError
from pipeline.trainers.conversations import REMEDIES, find_faults, find_step_faults
from pipeline.trainers.converters import Judge, open_converter
from pipeline.trainers.formats import read_back
from pipeline.trainers.usage import READERS

Severity = Literal["error", "warning", "note"]

_SHOWN = 5  # row ids in one finding
# Tokens a row may have by default: TRL's max_length, LLaMA-Factory's cutoff_len, open-instruct's
# max_seq_length, and the sequence_len that our axolotl.yaml sets.
_MAX_LENGTH = {"trl": 1024, "axolotl": 2048, "llamafactory": 2048, "open-instruct": 2048}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know before training; `error` means rows are lost or the trainer fails."""

    severity: Severity
    rule: str
    count: int  # rows concerned
    rows: tuple[str, ...]  # the first row ids
    message: str  # a sentence with the remedy


class _Layout(NamedTuple):
    to: str
    kind: str
    file: Path
    entry: Mapping[str, Any]  # LLaMA-Factory: the dataset's entry; Axolotl: the config


def check(
    export_dir: Path | str, *, tokenizer: str | None = None, max_length: int | None = None
) -> list[Finding]:
    """Return what is wrong with an export, errors first; an empty list never comes back.

    `tokenizer` is a folder or name for the model that will be trained; without it data/nano's is
    used where it exists. `max_length` is in tokens, by default the trainer's own. Raises UserError
    only when there is no export in `export_dir`.
    """
    folder = Path(export_dir)
    layout = _recognise(folder)
    if not layout.file.is_file():
        message = f"{layout.file.name} is named by the export but is not there; export anew"
        return [Finding("error", "file_missing", 0, (), message)]
    with tempfile.TemporaryDirectory() as cache:
        try:
            rows = _load(layout.file, cache)
        except Exception as error:  # whatever the trainer's loader raises is the finding
            message = f"the trainer's loader cannot read {layout.file.name}: {_say(error)}"
            return [Finding("error", "unreadable", 0, (), message)]
        findings = [*_check_columns(rows, layout), *_check_labels(rows, layout)]
        if not any(finding.severity == "error" for finding in findings):
            findings += _check_rows(rows, layout, folder, _open_tokenizer(tokenizer), max_length)
    order = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _recognise(folder: Path) -> _Layout:
    """Find out what an export holds from its own notes, or from what trainers look at."""
    if (folder / "dataset_info.json").is_file():
        entry = next(iter(json.loads((folder / "dataset_info.json").read_text()).values()))
        kto = "kto_tag" in entry.get("columns", {})
        kind = "pairs" if entry.get("ranking") else "unpaired" if kto else "sft"
        return _Layout("llamafactory", kind, folder / entry["file_name"], entry)
    if (folder / "axolotl.yaml").is_file():
        config = yaml.safe_load((folder / "axolotl.yaml").read_text())
        kind = {"dpo": "pairs", "kto": "unpaired"}.get(config.get("rl"), "sft")
        kind = "stepwise" if config.get("process_reward_model") else kind
        return _Layout("axolotl", kind, folder / config["datasets"][0]["path"], config)
    if (folder / "export.json").is_file():
        note = json.loads((folder / "export.json").read_text())
        return _Layout(note["to"], note["kind"], folder / note["file"], {})
    files = [path for path in sorted(folder.glob("*")) if path.suffix in READERS]
    if len(files) != 1:
        raise UserError(f"{folder} holds {len(files)} data files and no export.json; export anew")
    return _Layout("trl", "", files[0], {})


def _load(file: Path, cache: str) -> Any:
    import datasets

    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(
            READERS[file.suffix], data_files=str(file), split="train", cache_dir=cache
        )
    finally:
        if not bars:
            datasets.enable_progress_bars()


def _open_tokenizer(name: str | None) -> Any:
    if name is None and not (NANO / "tokenizer.json").is_file():
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name or str(NANO))
    except (OSError, ValueError) as error:
        raise UserError(f"tokenizer '{name}' cannot be loaded: {_say(error)}") from error


def _guess_kind(columns: Iterable[str]) -> str:
    have = set(columns)
    if "chosen" in have:
        return "pairs"
    if "completions" in have:
        return "stepwise"
    return "unpaired" if "label" in have else "sft"


# Rules over columns ------------------------------------------------------------------------------


def _check_columns(rows: Any, layout: _Layout) -> Iterator[Finding]:
    if not len(rows):
        yield Finding("error", "empty", 0, (), "the export has 0 rows; nothing can be trained")
    for column in dict(layout.entry.get("columns", {})).values():
        if column not in rows.column_names:
            have = ", ".join(rows.column_names)
            message = f"dataset_info.json names column '{column}', the data has {have}; rename it"
            yield Finding("error", "column_missing", len(rows), (), message)
    dated = [name for name, feature in rows.features.items() if "timestamp" in str(feature)]
    if dated:
        message = f"the loader reads column '{dated[0]}' as dates; write the data as Parquet"
        yield Finding("error", "read_as_dates", len(rows), (), message)
    if "row_id" in rows.column_names and len(set(rows["row_id"])) < len(rows):
        twice = len(rows) - len(set(rows["row_id"]))
        message = f"{twice} row ids occur twice; such rows cannot be traced back one by one"
        yield Finding("warning", "row_id_twice", twice, (), message)


def _check_labels(rows: Any, layout: _Layout) -> Iterator[Finding]:
    kind = layout.kind or _guess_kind(rows.column_names)
    name = layout.entry.get("columns", {}).get("kto_tag", "label")
    if kind != "unpaired" or name not in rows.column_names:
        return
    labels = list(rows[name])
    good, bad = labels.count(True), labels.count(False)
    if min(good, bad) == 0:
        message = f"{good} desirable and {bad} undesirable rows: KTO needs both; add the other kind"
        yield Finding("error", "one_label", len(labels), (), message)
    elif max(good, bad) > 10 * min(good, bad):
        message = f"{good} desirable and {bad} undesirable rows: set KTO's weights to even them out"
        yield Finding("warning", "labels_uneven", len(labels), (), message)


# Rules over rows ---------------------------------------------------------------------------------


def _check_rows(
    rows: Any, layout: _Layout, folder: Path, tokenizer: Any, max_length: int | None
) -> list[Finding]:
    layout = layout._replace(kind=layout.kind or _guess_kind(rows.column_names))
    converter, judge = open_converter(layout.to, layout.kind, folder, layout.entry, tokenizer)
    ids: dict[tuple[Severity, str, str], list[str]] = defaultdict(list)
    lengths: dict[str, int] = {}
    for i, row in enumerate(rows):
        row_id = str(row.get("row_id") or f"row {i}")
        for key in _judge_row(row, row_id, layout, judge):
            ids[key].append(row_id)
        lengths[row_id] = _count_tokens(row, layout, tokenizer)
    findings = [
        Finding(severity, rule, len(found), tuple(found[:_SHOWN]), f"{len(found)} rows {sentence}")
        for (severity, rule, sentence), found in ids.items()
    ]
    findings += _check_template(layout, rows.column_names, tokenizer)
    findings += _check_lengths(lengths, max_length or _MAX_LENGTH[layout.to], tokenizer)
    return [*findings, Finding("note", "checked_with", len(rows), (), converter)]


def _judge_row(
    row: Mapping[str, Any], row_id: str, layout: _Layout, judge: Judge | None
) -> Iterator[tuple[Severity, str, str]]:
    """Yield (severity, rule, the rest of a sentence that begins with "N rows")."""
    if _is_ours(layout):
        for fault in _find_rule_faults(row, row_id, layout):
            # Only LLaMA-Factory skips rows for their order of roles; elsewhere templates decide.
            mild = fault == "not_alternating" and layout.to != "llamafactory"
            yield "warning" if mild else "error", fault, REMEDIES[fault]
    if judge is not None:
        try:
            complaint = judge(row)
        except Exception as error:  # what stops the training is the finding
            complaint = f"make the converter raise {_say(error)}; mend or drop them"
        if complaint:
            yield "error", "converter", complaint


def _is_ours(layout: _Layout) -> bool:
    tags = layout.entry.get("tags", {})
    return layout.to != "llamafactory" or tags.get("role_tag") == "role"


def _find_rule_faults(row: Mapping[str, Any], row_id: str, layout: _Layout) -> list[str]:
    if layout.kind == "stepwise":
        return find_step_faults(row.get("prompt"), row.get("completions"), row.get("labels"))
    example = read_back(_rename(row, layout), row_id, layout.to, layout.kind)
    return find_faults(example, kind=layout.kind, alternating=True)


def _rename(row: Mapping[str, Any], layout: _Layout) -> Mapping[str, Any]:
    columns = layout.entry.get("columns", {})
    names = {ours: columns[ours] for ours in ("messages", "chosen", "rejected") if ours in columns}
    names |= {"label": columns["kto_tag"]} if "kto_tag" in columns else {}
    return {ours: row.get(theirs) for ours, theirs in names.items()} if names else row


# Tokens ------------------------------------------------------------------------------------------


def _count_tokens(row: Mapping[str, Any], layout: _Layout, tokenizer: Any) -> int:
    """Tokens of the longest conversation of a row under the chat template, -1 if unknown."""
    if tokenizer is None or not _is_ours(layout):
        return -1
    if layout.kind == "stepwise":
        return len(tokenizer("\n".join([row["prompt"], *row["completions"]]))["input_ids"])
    example = read_back(_rename(row, layout), "", layout.to, layout.kind)
    try:
        return max(
            len(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))
            for messages in example.conversations
        )
    except Exception:  # rows the template cannot render are reported by the converter
        return -1


def _check_lengths(lengths: Mapping[str, int], limit: int, tokenizer: Any) -> Iterator[Finding]:
    known = [length for length in lengths.values() if length >= 0]
    if not known:
        message = "no tokenizer was given, so lengths are unknown; name one with --tokenizer"
        yield Finding("note", "lengths", 0, (), message)
        return
    median, high = (int(np.quantile(known, q)) for q in (0.5, 0.95))
    name = Path(str(tokenizer.name_or_path)).name
    message = f"tokens a row by {name}: median {median}, 95 % {high}, longest {max(known)}"
    yield Finding("note", "lengths", len(known), (), message)
    long = [row_id for row_id, length in lengths.items() if length > limit]
    if long:
        message = f"{len(long)} rows exceed {limit} tokens and are cut or dropped; raise the limit"
        yield Finding("warning", "too_long", len(long), tuple(long[:_SHOWN]), message)


def _check_template(layout: _Layout, columns: list[str], tokenizer: Any) -> Iterator[Finding]:
    if tokenizer is None or layout.kind == "stepwise":
        return
    template = tokenizer.chat_template
    if not template:
        message = f"tokenizer {tokenizer.name_or_path} has no chat template; set one"
        yield Finding("error", "no_template", 0, (), message)
    elif layout.to == "trl" and "messages" in columns and "generation" not in template:
        message = (
            "the template marks no {% generation %} block, which assistant_only_loss needs unless"
            " TRL knows the template; else export with --form prompt-completion"
        )
        yield Finding("warning", "no_generation_mark", 0, (), message)


def _say(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
