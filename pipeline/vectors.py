"""Feature shards: one vector a row, raw and memory-mapped, beside a manifest that says whose.

    FOLDER/00000.npy     float16 or float32 [rows, width], NumPy's own format
    FOLDER/00000.json    its commit record, written after it: ids in order, checksum
    FOLDER/manifest.json identity, width, shards; written last

Vectors of different identities live in different spaces: they are refused, never mixed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import xxhash

from pipeline.errors import UserError
from pipeline.files import lock_folder, write_file
from pipeline.schema import canonical


class Identity(NamedTuple):
    """What a vector depends on besides its row's text. `projector` is "none" or kind and width."""

    model: str
    revision: str
    layer: int
    pooling: str
    projector: str
    seed: int
    dtype: str
    template: str


@dataclass(frozen=True)
class Features:
    """A finished folder of vectors, read through its manifest and never loaded whole."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> "Features":
        """Open a folder that `write_features` has finished; UserError if it has no manifest."""
        if not (Path(path) / "manifest.json").is_file():
            raise UserError(f"{path}: there is no manifest.json, so these are no finished features")
        return cls(Path(path))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it was when first read."""
        manifest: dict[str, Any] = orjson.loads((self.path / "manifest.json").read_bytes())
        return manifest

    @property
    def identity(self) -> Identity:
        """What made these vectors."""
        return Identity(**self.manifest["identity"])

    @property
    def fingerprint(self) -> str:
        """Digest of the contents: identity, ids and vectors, not paths or times."""
        content = xxhash.xxh3_128(canonical(self.manifest))
        for i in range(len(self.manifest["shards"])):
            content.update((self.path / f"{i:05d}.json").read_bytes())  # ids and checksum
        return content.hexdigest()

    @property
    def rows(self) -> int:
        """Number of vectors."""
        return sum(self.manifest["shards"])

    @property
    def width(self) -> int:
        """Components of a vector."""
        return int(self.manifest["width"])

    def ids(self) -> list[str]:
        """Return the rows' ids, in the order of the vectors."""
        return [one for i in range(len(self.manifest["shards"])) for one in _ids(self.path, i)]

    def ids_of(self, rows: np.ndarray) -> list[str]:
        """Return the ids of these rows (by place), reading only the records they are in."""
        ends = np.cumsum(self.manifest["shards"])
        shard = np.searchsorted(ends, rows, side="right")
        known = {i: _ids(self.path, i) for i in np.unique(shard).tolist()}
        starts = ends - np.asarray(self.manifest["shards"])
        within = (np.asarray(rows) - starts[shard]).tolist()
        return [known[i][j] for i, j in zip(shard.tolist(), within, strict=True)]

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, memory-mapped view of at most `size` rows), in order.

        Raises UserError for a shard whose shape is not the manifest's.
        """
        first = 0
        for i, rows in enumerate(self.manifest["shards"]):
            file = self.path / f"{i:05d}.npy"
            shard = np.load(file, mmap_mode="r")
            if shard.shape != (rows, self.width):
                raise UserError(
                    f"{file}: holds {shard.shape}, the manifest says {(rows, self.width)}; "
                    "remove the folder and embed again"
                )
            for start in range(0, rows, size):
                yield first + start, shard[start : start + size]
            first += rows

    def take(self, ids: Sequence[str]) -> np.ndarray:
        """Read the vectors of these rows into memory, [len(ids), width], in their order.

        Raises UserError for an id that is not in the folder.
        """
        place = {one: i for i, one in enumerate(ids)}
        taken = np.empty((len(ids), self.width), dtype=self.identity.dtype)
        found = 0
        for i, (_, view) in enumerate(self.blocks(1 << 40)):
            here = [(place[one], j) for j, one in enumerate(_ids(self.path, i)) if one in place]
            if here:
                to, places = np.array(here).T
                taken[to] = view[places]
            found += len(here)
        if found != len(place):
            raise UserError(
                f"{self.path}: {len(place) - found} of {len(place)} rows have no vector; "
                "run the command that makes them again"
            )
        return taken

    def array(self) -> np.ndarray:
        """Read every vector into memory: for queries, not for pools."""
        parts = [view for _, view in self.blocks(1 << 20)]
        empty = np.zeros((0, self.width), dtype=self.identity.dtype)
        return np.concatenate([empty, *parts])


def write_features(
    folder: str | Path,
    identity: Identity,
    ids: Sequence[str],
    embed: Callable[[Sequence[int]], np.ndarray],
    *,
    shard_rows: int = 4096,
) -> Features:
    """Embed the rows that `folder` does not hold yet, each exactly once, and return all of it.

    `embed` gets places in `ids` and returns float[len(places), width]; at most `shard_rows` are
    asked at a time and are durable when the next are asked. Vectors that are not finite are kept as
    NaN: no selector ever chooses such a row. Rows that the folder holds beside `ids` stay in it;
    `matching.masked` leaves them out of a selection.
    Raises UserError for a folder of another identity (naming both), for an id given twice and for
    finite values that `dtype` cannot hold.
    """
    folder = Path(folder)
    if identity.dtype not in ("float16", "float32"):
        raise UserError(f"{folder}: dtype '{identity.dtype}' is not float16 or float32")
    if len(set(ids)) != len(ids):
        raise UserError(f"{folder}: {len(ids)} rows have {len(set(ids))} ids; deduplicate first")
    with lock_folder(folder):
        _claim(folder, identity)
        shards, width, held = _committed(folder)
        _remove_from(folder, len(shards))
        todo = [place for place, one in enumerate(ids) if one not in held]
        for start in range(0, len(todo), shard_rows):
            places = todo[start : start + shard_rows]
            vectors = _as_stored(embed(places), len(places), width, identity, folder)
            _write(folder, len(shards), [ids[place] for place in places], vectors)
            shards.append(len(places))
            width = vectors.shape[1]
        manifest = {"identity": identity._asdict(), "width": width or 0, "shards": shards}
        write_file(folder / "manifest.json", canonical(manifest))
    return Features(folder)


def require_same(one: Identity, other: Identity, *, names: tuple[str, str]) -> None:
    """Raise UserError naming both identities unless they are equal."""
    if one != other:
        (field, *_) = [f for f in Identity._fields if getattr(one, f) != getattr(other, f)]
        ours, theirs = getattr(one, field), getattr(other, field)
        raise UserError(
            f"{names[0]} and {names[1]} were not made alike: {field} is '{ours}' in {one} and "
            f"'{theirs}' in {other}; embed one of them again"
        )


def _claim(folder: Path, identity: Identity) -> None:
    mark = folder / "identity.json"
    if mark.is_file():
        earlier = Identity(**orjson.loads(mark.read_bytes()))
        require_same(earlier, identity, names=(str(folder), "the vectors to be written"))
    write_file(mark, canonical(identity._asdict()))


def _committed(folder: Path) -> tuple[list[int], int | None, set[str]]:
    """Return the shards that are whole, their width and the ids they hold."""
    shards: list[int] = []
    width, held = None, set[str]()
    while (record := _record(folder, len(shards))) is not None:
        shards.append(len(record["ids"]))
        held.update(record["ids"])
        width = record["width"]
    return shards, width, held


def _remove_from(folder: Path, count: int) -> None:
    """Remove shards that come after a torn one: their rows are embedded again."""
    for record in folder.glob("[0-9]*.json"):
        if int(record.stem) >= count:
            record.unlink()
            record.with_suffix(".npy").unlink(missing_ok=True)


def _record(folder: Path, i: int) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = orjson.loads((folder / f"{i:05d}.json").read_bytes())
        content = (folder / f"{i:05d}.npy").read_bytes()
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return record if xxhash.xxh3_128_hexdigest(content) == record["xxh3"] else None


def _ids(folder: Path, i: int) -> list[str]:
    ids: list[str] = orjson.loads((folder / f"{i:05d}.json").read_bytes())["ids"]
    return ids


def _write(folder: Path, i: int, ids: Sequence[str], vectors: np.ndarray) -> None:
    # A record never stands beside vectors that it was not made from.
    (folder / f"{i:05d}.json").unlink(missing_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    sink = BytesIO()
    np.save(sink, vectors)
    content = sink.getvalue()
    write_file(folder / f"{i:05d}.npy", content)
    checksum = xxhash.xxh3_128_hexdigest(content)
    record = {"ids": list(ids), "width": vectors.shape[1], "xxh3": checksum}
    write_file(folder / f"{i:05d}.json", canonical(record))


def _as_stored(
    found: np.ndarray, rows: int, width: int | None, identity: Identity, folder: Path
) -> np.ndarray:
    found = np.asarray(found)
    wanted = (rows, found.shape[-1] if width is None else width)
    if found.shape != wanted:
        raise UserError(f"{folder}: the embedder returned {found.shape}, expected {wanted}")
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(found, dtype=identity.dtype)
    if (np.isinf(stored) & np.isfinite(found)).any():
        raise UserError(
            f"{folder}: a component of {np.nanmax(np.abs(found)):g} exceeds the "
            f"{np.finfo(stored.dtype).max:g} that {identity.dtype} holds; use float32"
        )
    stored[~np.isfinite(stored).all(axis=1)] = np.nan
    return stored
