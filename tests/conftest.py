"""Fixtures that several test modules share."""

from pathlib import Path

import pytest

from tests.tiny_model import build_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random Llama with a chat template: context 256, 0.8M parameters."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
