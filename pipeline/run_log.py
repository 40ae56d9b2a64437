"""RUN/log.jsonl: what was logged during a run, each line with its run, step, shard and process.

A line: {"at", "level", "logger", "run", "step", "shard", "process", "message"}. `step` and `shard`
are null outside a shard, and in the engines' own thread. It has clock times and is no part of the
data.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

import orjson

_OURS = ("pipeline", "scorers", "sandbox", "flows")
_shard: ContextVar[tuple[str, int] | None] = ContextVar("tamis_shard", default=None)


@contextmanager
def logging_to(run: Path) -> Iterator[None]:
    """Append what our modules log in this block, from INFO upwards, to RUN/log.jsonl."""
    handler = _Lines(run / "log.jsonl", delay=True)
    loggers = [logging.getLogger(name) for name in _OURS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        handler.close()


@contextmanager
def in_shard(step: str, i: int) -> Iterator[None]:
    """Say that what is logged in this block is about shard `i` of `step`."""
    token = _shard.set((step, i))
    try:
        yield
    finally:
        _shard.reset(token)


class _Lines(logging.FileHandler):
    def format(self, record: logging.LogRecord) -> str:
        step, shard = _shard.get() or (None, None)
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "run": Path(self.baseFilename).parent.name,
            "step": step,
            "shard": shard,
            "process": os.getpid(),
            "message": record.getMessage(),
        }
        return orjson.dumps(line, default=str).decode()
