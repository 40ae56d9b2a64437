"""The words and shapes that every module shares: Arrow schemas, ids, seeds, verdicts, protocols.

Between steps everything is an Arrow table of one of the shapes below. Extra columns are allowed,
the fixed ones are not negotiable: `check` says in one sentence which is missing or of another type.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import orjson
import pyarrow as pa
import xxhash

from pipeline.errors import UserError

Word = Literal["correct", "wrong", "unparsable", "timeout", "error", "infra", "unverified"]
WORDS: tuple[Word, ...] = (
    "correct",
    "wrong",
    "unparsable",
    "timeout",
    "error",
    "infra",
    "unverified",
)

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
MESSAGES = pa.list_(MESSAGE)

# Optional columns of prompts (answer, tests, entry_point, constraints): checked by who reads them.
PROMPTS = pa.schema(
    [("id", pa.string()), ("messages", MESSAGES), ("source", pa.string()), ("meta", pa.string())]
)

# Rows with answers: what selection chooses from, and the queries that it aims at. `task` says what
# a row is an example of.
POOL = pa.schema(
    [("id", pa.string()), ("messages", MESSAGES)]
    + [(name, pa.string()) for name in ("source", "task", "meta")]
)

ROLLOUTS = pa.schema(
    [
        ("rollout_id", pa.string()),
        ("id", pa.string()),
        ("trial", pa.int32()),
        ("prefix", pa.string()),
        ("completion", pa.string()),
        ("finish_reason", pa.string()),
        ("model", pa.string()),
        ("sampling", pa.string()),
        ("prompt_digest", pa.string()),
        ("seed", pa.uint64()),
        ("n_tokens", pa.int32()),
        ("sum_logprob", pa.float64()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("extracted", pa.string()),
        ("counted", pa.bool_()),
        ("parents", pa.list_(pa.string())),
    ]
)

SFT = pa.schema(
    [
        ("row_id", pa.string()),
        ("messages", MESSAGES),
        ("weight", pa.float64()),
        ("parents", pa.list_(pa.string())),
        ("recipe", pa.string()),
    ]
)

PAIRS = pa.schema(
    [
        ("row_id", pa.string()),
        ("prompt", MESSAGES),
        ("prefix", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("score_chosen", pa.float64()),
        ("score_rejected", pa.float64()),
        ("kind", pa.string()),
        ("parents", pa.list_(pa.string())),
        ("recipe", pa.string()),
    ]
)

# One row for each program and test that met. A pair that did not meet, or met with status "infra",
# was not judged. max_rss_kb and stdout_bytes are the whole program's, over all its tests.
EXECUTIONS = pa.schema(
    [
        ("code_id", pa.string()),
        ("test_id", pa.string()),
        ("status", pa.string()),
        ("wall_ms", pa.float64()),
        ("cpu_ms", pa.float64()),
        ("max_rss_kb", pa.int64()),
        ("exception", pa.string()),
        ("stdout_bytes", pa.int64()),
    ]
)

STEPWISE = pa.schema(
    [
        ("prompt", pa.string()),
        ("completions", pa.list_(pa.string())),
        ("labels", pa.list_(pa.bool_())),
    ]
)

# What a recipe gives to something else than a trainer of texts: rewards for reinforcement learning,
# queries with documents. The columns that say it are the recipe's own.
SCORES = pa.schema(
    [("row_id", pa.string()), ("parents", pa.list_(pa.string())), ("recipe", pa.string())]
)

UNPAIRED = pa.schema([("prompt", pa.string()), ("completion", pa.string()), ("label", pa.bool_())])


class Verdict(NamedTuple):
    """What a verifier says of one completion; `reason` is a short snake_case word or phrase."""

    verdict: Word
    reason: str = ""
    extracted: str | None = None


class Sifted(NamedTuple):
    """A step's answer: the rows kept, why the others left, and (if wanted) those others.

    `dropped` counts rows by reason, so that rows in = rows kept + sum of counts, exactly. `aside`
    holds rows that are kept beside the data but are not part of it: removed duplicates, surplus
    trials. They are written to `aside/`, outside the fingerprint. `whole` is False where the run
    was told to stop before all was done: such a shard is valid, and made again by the next run.
    """

    kept: pa.Table
    dropped: Mapping[str, int] = {}
    aside: pa.Table | None = None
    whole: bool = True


class Case(NamedTuple):
    """One thing to verify: the prompt's row (column -> value) and the completion's text."""

    prompt: Mapping[str, Any]
    completion: str


class Verifier(Protocol):
    """Judges completions. A plain function over a batch, decorated with `@verifier`.

    Must return one verdict a case, in order; must never raise for what a completion contains; may
    block (the sampling loop calls it off the event loop, up to two batches at a time).
    """

    __name__: str
    version: int
    needs: tuple[str, ...]  # prompt columns it reads

    def __call__(self, cases: Sequence[Case], /) -> list[Verdict]:
        """Return one verdict a case, in order."""
        ...


class Scorer(Protocol):
    """Maps a table to one float column named after the function; null = could not be judged."""

    __name__: str
    version: int
    needs: tuple[str, ...]

    def __call__(self, rows: pa.Table, /) -> pa.Array:
        """Return a float64 array as long as `rows`."""
        ...


def verifier(*, needs: Sequence[str] = (), version: int = 1) -> Callable[[Any], Any]:
    """Mark a function as a `Verifier` or `Scorer`: what it reads, and its version in digests."""

    def mark(function: Any) -> Any:
        function.needs, function.version = tuple(needs), version
        return function

    return mark


def canonical(value: Any) -> bytes:
    """Serialise to JSON with sorted keys, so that equal values have equal bytes in any process."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)


def digest(*parts: Any) -> str:
    """Name a value by its content: xxh3-128 over canonical JSON, 32 hex characters."""
    return xxhash.xxh3_128_hexdigest(canonical(parts))


def trial_seed(run_seed: int, prompt_id: str, prompt_digest: str, trial: int) -> int:
    """Seed of one trial (uint64): the same whenever and wherever that trial runs."""
    return xxhash.xxh3_64_intdigest(canonical([run_seed, prompt_id, prompt_digest, trial]))


def check(table: pa.Table, schema: pa.Schema, *, where: str) -> pa.Table:
    """Return `table` if it has every column of `schema` with its type, else say what is off."""
    for field in schema:
        if field.name not in table.column_names:
            have = ", ".join(table.column_names)
            raise UserError(f"{where}: column '{field.name}' is missing; it has: {have}")
        found = table.schema.field(field.name).type
        if found != field.type:
            raise UserError(f"{where}: column '{field.name}' is {found}, expected {field.type}")
    return table
