"""From a dataset to feature shards: an encoder of any kind, run once over every row.

An encoder (embeddings, hidden states, token losses, gradients) turns rows into vectors and says
what they depend on; `features` asks it for the rows that a folder does not hold yet.
"""

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.shards import Shards
from pipeline.vectors import Features, Identity, write_features

_log = logging.getLogger(__name__)


class Encoder(NamedTuple):
    """What makes vectors: their identity, the columns it may read, and table -> float[n, d].

    A row that it cannot encode is NaN in every component. It raises only for what is wrong with the
    whole (no such column, no memory), never for what a row contains.
    """

    identity: Identity
    columns: tuple[str, ...]
    encode: Callable[[pa.Table], np.ndarray]


def features(
    rows: Shards, encoder: Encoder, folder: str | Path, *, key: str = "id", shard_rows: int = 1024
) -> Features:
    """Encode the rows that `folder` does not hold yet, each exactly once, and return all of it.

    At most `shard_rows` rows are read and encoded at a time and are durable before the next, so a
    killed run loses no more than those. Vectors follow the rows' order in the dataset, or, where
    the folder held some already, come after them: `Features.ids` says which row is whose.
    Raises UserError as `write_features` does, and for a dataset with none of the columns.
    """
    ends = list(accumulate(shard["rows"] for shard in rows.manifest["shards"]))
    columns = _present(rows, encoder.columns)
    ids = [one for i in range(len(rows)) for one in rows.shard(i, [key])[key].to_pylist()]
    cache: dict[int, pa.Table] = {}

    def encode(places: Sequence[int]) -> np.ndarray:
        table = pa.concat_tables(
            [
                _shard(rows, i, columns, cache).take([p - (ends[i - 1] if i else 0) for p in own])
                for i, own in groupby(places, key=lambda place: bisect_right(ends, place))
            ],
            promote_options="permissive",
        )
        found = np.asarray(encoder.encode(table))
        _log_unusable(found, folder)
        return found

    return write_features(folder, encoder.identity, ids, encode, shard_rows=shard_rows)


def _present(rows: Shards, wanted: Sequence[str]) -> list[str]:
    have = rows.shard(0).column_names if len(rows) else list(wanted)
    found = [column for column in wanted if column in have]
    if not found:
        raise UserError(
            f"{rows.path}: none of the columns {', '.join(wanted)} is there; it has: "
            f"{', '.join(have)}"
        )
    return found


def _shard(rows: Shards, i: int, columns: list[str], cache: dict[int, pa.Table]) -> pa.Table:
    if i not in cache:
        cache.clear()  # places ascend: a shard that is left is not asked for again
        cache[i] = rows.shard(i, columns)
    return cache[i]


def _log_unusable(found: np.ndarray, folder: str | Path) -> None:
    bad = int((~np.isfinite(found).all(axis=1)).sum()) if found.ndim == 2 else 0
    if bad:
        _log.warning(
            "%s: %d of %d rows have no vector; they are kept as NaN", folder, bad, len(found)
        )
