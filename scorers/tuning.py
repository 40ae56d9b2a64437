"""A short tuning run of a causal model, whole weights, for selection methods that need one.

CoLoR-Filter's conditional model, SFTMix's reference run, kMQ's rounds, projektor's pilots: small
jobs in plain torch, loss on replies only. For training on a finished set use a trainer.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from pipeline.engines.checkpoint import identify, locate, without_bars
from pipeline.engines.forward import context_of, load_causal
from pipeline.errors import UserError
from pipeline.files import write_file
from pipeline.schema import canonical, digest
from pipeline.selection.eligibility import chances
from scorers.conversations import COLUMNS, Encoded, encode_turns, turns_of
from scorers.reply_loss import add_gradient

_log = logging.getLogger(__name__)


class Schedule(NamedTuple):
    """How long and how fast: AdamW without decay, 3 % of warm-up, then linear to nothing."""

    epochs: int = 1
    rate: float = 2e-4
    batch: int = 16  # rows a step
    max_length: int = 2048
    seed: int = 0


def tune(
    model: str, rows: pa.Table, folder: Path, schedule: Schedule, *, checkpoints: int = 1
) -> list[str]:
    """Tune a copy of `model` and return its checkpoints' folders, evenly spaced, the last the end.

    A folder that holds the same run's checkpoints is returned as it is. Rows without a reply, and
    those longer than the model reads, are left out and counted in the log. Raises UserError if none
    is left, and for a run of fewer steps than checkpoints.
    """
    if schedule.batch < 1:
        raise UserError(f"batch = {schedule.batch} must be at least 1")
    facts = [identify(locate(model)), rows["id"].to_pylist(), list(schedule), checkpoints]
    done, names = folder / "tuned.json", [str(folder / f"step-{c}") for c in range(checkpoints)]
    if done.is_file() and orjson.loads(done.read_bytes()) == digest(*facts):
        return names
    loaded, tokenizer = _copy(model)
    encoded = _encode(loaded, tokenizer, rows, schedule, model)
    batches = list(_batches(encoded, schedule))
    if not 1 <= checkpoints <= len(batches):
        raise UserError(
            f"{checkpoints} checkpoints of a run of {len(batches)} steps: {len(encoded)} rows in "
            f"batches of {schedule.batch}; take fewer checkpoints, smaller batches or more rows"
        )
    ends = [round((c + 1) * len(batches) / checkpoints) for c in range(checkpoints)]
    for step in _train(loaded, batches, schedule):
        for name in (n for n, end in zip(names, ends, strict=True) if end == step):
            with without_bars():
                loaded.save_pretrained(name)
            tokenizer.save_pretrained(name)
    write_file(done, canonical(digest(*facts)))
    return names


def _copy(model: str) -> tuple[Any, Any]:
    import copy

    loaded, tokenizer = load_causal(model)
    return copy.deepcopy(loaded).float().train(), tokenizer


def _encode(
    loaded: Any, tokenizer: Any, rows: pa.Table, schedule: Schedule, model: str
) -> list[tuple[str, Encoded]]:
    limit = min(schedule.max_length, context_of(loaded))
    names = [name for name in (*COLUMNS, "id") if name in rows.column_names]
    encoded = [
        (row["id"], encode_turns(tokenizer, turns_of(row), part="replies", limit=limit))
        for row in rows.select(names).to_pylist()
    ]
    usable = [(one, e) for one, e in encoded if e.counted[1:].any() and not e.truncated]
    if not usable:
        raise UserError(f"none of {len(rows)} rows to tune '{model}' on has a reply that fits it")
    if len(usable) < len(encoded):
        _log.warning(
            "%d of %d rows have no reply or are longer than %d tokens; not tuned on",
            len(encoded) - len(usable), len(encoded), limit,
        )  # fmt: skip
    return usable


def _batches(encoded: Sequence[tuple[str, Encoded]], schedule: Schedule) -> Iterator[list[Encoded]]:
    """Yield the batches of every epoch; a row's place depends on seed, epoch and its id."""
    ids = [one for one, _ in encoded]
    for epoch in range(schedule.epochs):
        luck = chances([f"{epoch}/{one}" for one in ids], len(ids), schedule.seed)
        order = np.argsort(luck, kind="stable").tolist()
        for start in range(0, len(order), schedule.batch):
            yield [encoded[i][1] for i in order[start : start + schedule.batch]]


def _train(loaded: Any, batches: Sequence[Sequence[Encoded]], schedule: Schedule) -> Iterator[int]:
    """Take one step a batch; yield how many were taken."""
    import torch

    torch.manual_seed(schedule.seed)
    optimiser = torch.optim.AdamW(loaded.parameters(), lr=schedule.rate, weight_decay=0.0)
    warm = max(1, round(0.03 * len(batches)))
    for step, batch in enumerate(batches, 1):
        factor = min(step / warm, (len(batches) - step + 1) / max(1, len(batches) - warm + 1))
        optimiser.param_groups[0]["lr"] = schedule.rate * factor
        add_gradient(loaded, batch, over="tokens")
        torch.nn.utils.clip_grad_norm_(loaded.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        yield step
