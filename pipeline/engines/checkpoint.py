"""A model's folder: where it is, who it is, and how its tokenizer wants a prompt."""

import logging
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from pipeline.checkout import ROOT
from pipeline.errors import UserError

_log = logging.getLogger(__name__)

# What decides the tokens that come out; other files of a folder (README, optimizer) do not.
_DECISIVE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "*.safetensors",
)
_WANTED = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"]


def locate(what: str) -> Path:
    """Return the folder of a model named by path or by hub name, downloading it if need be.

    "data/nano" is found from anywhere: a path may also start at the repository's root.
    """
    folder = Path(what).expanduser()
    for place in (folder, ROOT / what):
        if (place / "config.json").is_file():
            return place.resolve()
    if folder.exists() or what.startswith(("/", ".", "~")) or what.count("/") > 1:
        state = "holds no config.json" if folder.exists() else "does not exist"
        raise UserError(f"model '{what}': that folder {state}; give the folder a trainer saved")
    return _snapshot(what)


def _snapshot(what: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        try:
            return Path(snapshot_download(what, allow_patterns=_WANTED, local_files_only=True))
        except FileNotFoundError:  # not in the cache
            _log.info("downloading %s", what)
            return Path(snapshot_download(what, allow_patterns=_WANTED))
    except Exception as error:  # a dozen kinds: no such name, gated, offline, disk full
        raise UserError(
            f"model '{what}' is no folder here and could not be had from the hub "
            f"({type(error).__name__}); give the path of a model's folder, or check the name and "
            "the network"
        ) from error


def identify(folder: Path) -> str:
    """Name a model by basename and content: "nano@" and 12 hex digits of its files or its commit.

    A hub snapshot is named by its commit; any other folder by xxh3 over the files that decide
    what comes out (0.2 s a GB when they are in memory).
    """
    if folder.parent.name == "snapshots":  # .../models--ORG--NAME/snapshots/COMMIT
        return f"{folder.parent.parent.name.rpartition('--')[2]}@{folder.name[:12]}"
    content = xxhash.xxh3_128()
    files = sorted({file for pattern in _DECISIVE for file in folder.glob(pattern)})
    for file in files:
        size = file.stat().st_size
        content.update(f"{file.name}\0{size}\0".encode())
        if size:
            with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as m:
                content.update(m)
    return f"{folder.name}@{content.hexdigest()[:12]}"


@contextmanager
def without_bars() -> Iterator[None]:
    """Load or save models in this block without transformers' progress bars; then as it was."""
    from transformers.utils import logging as shown

    if not shown.is_progress_bar_enabled():
        yield
        return
    shown.disable_progress_bar()
    try:
        yield
    finally:
        shown.enable_progress_bar()


def encode(
    tokenizer: Any, messages: tuple[tuple[str, str], ...], text: str, prefix: str
) -> tuple[int, ...]:
    """Turn a request's prompt into token ids, with the prefix of the answer at its end.

    A chat template writes its own special tokens; plain text gets what the tokenizer adds (BOS).
    """
    if messages:
        chat = [{"role": role, "content": content} for role, content in messages]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return tuple(tokenizer.encode(text + prefix, add_special_tokens=not messages))


def require_template(tokenizer: Any, what: str) -> None:
    """Raise UserError if the tokenizer cannot render messages."""
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"model '{what}' has no chat template, so it cannot take messages; choose the "
            "recipe's plain template, or an instruct model"
        )
