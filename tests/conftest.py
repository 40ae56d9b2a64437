"""Shared fixtures: a Prefect home of this session's own, one server for it, and toy tables."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before anything imports prefect, which reads its settings once.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="tamis-prefect-")
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="tamis-runtime-")  # limits of our own
os.environ.pop("PREFECT_API_URL", None)
os.environ["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"

import pyarrow as pa
import pytest
from hypothesis import settings

from pipeline.prefect_home import serving
from sandbox import Sandbox
from tests.tiny_model import build_tiny_model

settings.register_profile("quick", max_examples=40, deadline=None)
settings.load_profile("quick")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """A Prefect API for the whole session, heartbeats off; the value is its URL."""
    from prefect.logging.configuration import setup_logging
    from prefect.settings import PREFECT_API_URL

    with serving():
        setup_logging()  # its handlers keep the stderr of now; one test's would soon be closed
        yield PREFECT_API_URL.value()


def pytest_unconfigure() -> None:
    """Remove the session's Prefect home and runtime folder."""
    for name in ("PREFECT_HOME", "XDG_RUNTIME_DIR"):
        shutil.rmtree(os.environ[name], ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random Llama with a chat template: context 256, 0.8M parameters."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def numbers() -> pa.Table:
    """A hundred rows: id 'r0' ... 'r99', x 0 ... 99."""
    return pa.table({"id": [f"r{i}" for i in range(100)], "x": list(range(100))})


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def chat_tokenizer(tmp_path_factory):
    """A byte-level tokenizer with a ChatML template, saved to a folder; returns that folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_start|>", "<|im_end|>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["What is 2 + 2? It is 4."], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = CHATML
    folder = tmp_path_factory.mktemp("tokenizer")
    fast.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=["A", "B"])
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox of each tier."""
    with Sandbox(workers=2, tier=request.param) as opened:
        yield opened
