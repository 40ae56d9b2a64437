"""Which shard a row lives in: a stable hash of its id, over a power of two of shards.

New rows never move old ones, and when a dataset doubles each shard splits in two: row `id` of a
dataset of n shards lives in shard xxh3_64(id) mod n.
"""

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.errors import UserError


def partition(table: pa.Table, n_shards: int) -> list[pa.Table]:
    """Share the rows among `n_shards` (a power of two) by column `id`, keeping their order.

    Raises UserError if the column is missing, not text, or holds a null.
    """
    if "id" not in table.column_names or not _is_text(table.schema.field("id").type):
        raise UserError(f"rows need a text column 'id' to be placed; they have: {table.schema}")
    if table["id"].null_count:
        raise UserError(f"{table['id'].null_count} of {len(table)} rows have no id; give them one")
    if n_shards == 1:
        return [table]
    ids = table["id"].cast(pa.large_binary())  # its UTF-8 bytes
    hashes = (xxhash.xxh3_64_intdigest(row_id) for row_id in ids.to_pylist())
    shard = np.fromiter(hashes, np.uint64, len(table)) & np.uint64(n_shards - 1)
    ordered = table.take(np.argsort(shard, kind="stable"))
    ends = np.cumsum(np.bincount(shard.astype(np.int64), minlength=n_shards))
    starts = [0, *ends[:-1]]
    return [ordered.slice(start, end - start) for start, end in zip(starts, ends, strict=True)]


def shard_count(rows: int, shard_rows: int, previous: int = 1) -> int:
    """Shards for `rows` rows of about `shard_rows` each: a power of two, never below `previous`."""
    needed = -(-rows // shard_rows)
    return max(previous, 1 << max(needed - 1, 0).bit_length())


def _is_text(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.large_string())
