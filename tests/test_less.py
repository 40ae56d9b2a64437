"""LESS with a real model: the warm-up's checkpoints, gradients by row, and what they foretell."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import UserError
from pipeline.selection.matching import blend, stream_scores
from pipeline.shards import Shards
from scorers.conversations import encode_turns
from scorers.features import features
from scorers.gradients import project
from scorers.reply_loss import reply_losses
from scorers.row_gradients import gradient_encoder, row_gradients
from scorers.warm_up import (
    Checkpoint,
    Lora,
    checkpoint_weights,
    learning_rates,
    load_checkpoint,
    warm_up,
)
from tests.test_hidden_states import NANO, conversations

SMALL = Lora(rank=2, alpha=8, epochs=2, batch=4, learning_rate=2e-3)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """Two epochs of a small LoRA over twelve rows."""
    return warm_up(conversations(12), NANO, tmp_path_factory.mktemp("less") / "warm", lora=SMALL)


def test_learning_rates_of_the_card() -> None:
    """LESS card 3: epoch means of the code's linear schedule, and of the paper's cosine."""
    ends = [105, 211, 317]
    means = {}
    for mode in ("code", "paper"):
        rates = learning_rates(420, peak=2e-5, share=0.03, mode=mode)
        means[mode] = [part.mean() for part in np.split(rates, ends)]
    assert means["code"] == pytest.approx([1.671e-5, 1.290e-5, 7.690e-6, 2.555e-6], rel=0.01)
    assert means["paper"] == pytest.approx([1.796e-5, 1.428e-5, 6.55e-6, 1.04e-6], rel=0.01)
    published = [1.6877e-5, 1.2859e-5, 7.7030e-6, 2.5616e-6]
    shares = checkpoint_weights([Checkpoint(Path(), 0, rate) for rate in published])
    assert shares == pytest.approx([0.4219, 0.3215, 0.1926, 0.0640], abs=1e-4)


def test_a_warm_up_learns_and_keeps_moments_by_name(warm: list[Checkpoint]) -> None:
    """Loss falls over the epochs; each trained parameter has both moments, of its own shape."""
    rows = conversations(12).to_pylist()
    means = []
    for checkpoint in warm:
        model, tokenizer, moments = load_checkpoint(checkpoint.folder)
        turns = [row["messages"] for row in rows]
        encoded = [encode_turns(tokenizer, t, part="replies", limit=512) for t in turns]
        means.append(float(np.mean([reply_losses(model, [one]).item() for one in encoded])))
        shapes = {n: p.shape for n, p in model.named_parameters() if p.requires_grad}
        assert len(shapes) == 48 and {n: pair[0].shape for n, pair in moments.items()} == shapes
        assert all(bool((v >= 0).all()) and bool(v.any()) for _, v in moments.values())
    assert means[1] < means[0]
    assert [one.step for one in warm] == [3, 6]
    assert warm[0].learning_rate > warm[1].learning_rate


def test_a_warm_up_goes_on_after_its_last_epoch(warm: list[Checkpoint], tmp_path: Path) -> None:
    """With the second epoch torn, the same call ends in the same bytes; other rows are refused."""
    folder = tmp_path / "warm"
    shutil.copytree(warm[0].folder.parent, folder)
    (folder / "epoch-2" / "checkpoint.json").unlink()
    (folder / "epoch-2" / "moments.safetensors").write_bytes(b"torn")
    again = warm_up(conversations(12), NANO, folder, lora=SMALL)
    assert [(one.step, one.learning_rate) for one in again] == [
        (one.step, one.learning_rate) for one in warm
    ]
    for name in ("moments.safetensors", "adapter_model.safetensors", "checkpoint.json"):
        assert (again[1].folder / name).read_bytes() == (warm[1].folder / name).read_bytes()
    with pytest.raises(UserError, match="other rows or settings"):
        warm_up(conversations(11), NANO, folder, lora=SMALL)


def test_moments_that_do_not_fit_are_refused(warm: list[Checkpoint], tmp_path: Path) -> None:
    """A checkpoint with moments missing, and an unfinished one, are explained."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(warm[0].folder, tmp_path / "c")
    kept = load_file(tmp_path / "c" / "moments.safetensors")
    kept.pop(next(iter(kept)))
    save_file(kept, tmp_path / "c" / "moments.safetensors")
    with pytest.raises(UserError, match="95 moments for 48 parameters"):
        load_checkpoint(tmp_path / "c")
    with pytest.raises(UserError, match=r"no checkpoint\.json"):
        load_checkpoint(tmp_path)


def test_a_step_along_a_gradient_does_what_it_says(warm: list[Checkpoint]) -> None:
    """LESS card D: a small SGD step on one row lowers a query's loss by rate times the product."""
    import torch

    model, tokenizer, _ = load_checkpoint(warm[0].folder)
    turns = [row["messages"] for row in conversations(6).to_pylist()]
    encoded = [encode_turns(tokenizer, t, part="replies", limit=512) for t in turns]
    gradients = list(row_gradients(model, encoded))
    parameters = [p for p in model.parameters() if p.requires_grad]
    query, rate = encoded[5], 1e-3
    foretold, real = [], []
    for gradient in gradients[:5]:
        before = reply_losses(model, [query]).item()
        parts = torch.from_numpy(gradient).split([p.numel() for p in parameters])
        with torch.no_grad():
            for sign in (-1, 1):  # the step, then back
                for parameter, part in zip(parameters, parts, strict=True):
                    parameter += sign * rate * part.reshape(parameter.shape)
                if sign == -1:
                    real.append(before - reply_losses(model, [query]).item())
        foretold.append(rate * float(gradient @ gradients[5]))
    assert real == pytest.approx(foretold, rel=0.1, abs=2e-6)
    assert max(np.abs(foretold)) > 2e-5


def test_vectors_know_no_batch_and_projection_keeps_cosines(warm: list[Checkpoint]) -> None:
    """Alone or together a row's vector is the same, of length 1, and like the exact gradient's."""
    rows = conversations(5)
    made = gradient_encoder(warm[1], side="queries", width=2048)
    found = made.encode(rows)
    alone = np.concatenate([made.encode(rows.slice(i, 1)) for i in range(5)])
    assert (found * alone).sum(axis=1) == pytest.approx(np.ones(5), abs=1e-3)
    model, tokenizer, _ = load_checkpoint(warm[1].folder)
    turns = [row["messages"] for row in rows.to_pylist()]
    encoded = [encode_turns(tokenizer, t, part="replies", limit=512) for t in turns]
    exact = np.stack(list(row_gradients(model, encoded)))
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    assert found @ found.T == pytest.approx(exact @ exact.T, abs=0.12)
    flat = project(exact, 2048)
    assert found == pytest.approx(flat / np.linalg.norm(flat, axis=1, keepdims=True), abs=1e-4)


def test_sides_and_modes(warm: list[Checkpoint]) -> None:
    """A pool row is not its query; the bias correction of the paper hardly turns it."""
    rows = conversations(3)
    pool = gradient_encoder(warm[0], side="pool", width=512)
    plain = gradient_encoder(warm[0], side="queries", width=512)
    paper = gradient_encoder(warm[0], side="pool", mode="paper", width=512)
    assert pool.identity == plain.identity != paper.identity
    code, corrected = pool.encode(rows), paper.encode(rows)
    assert ((code * plain.encode(rows)).sum(axis=1) < 0.99).all()
    assert ((code * corrected).sum(axis=1) > 0.5).all()
    assert gradient_encoder(warm[1], side="pool", width=512).identity != pool.identity


def test_rows_without_a_reply_have_no_gradient(warm: list[Checkpoint]) -> None:
    """A prompt alone, and a reply beyond the limit, are NaN and harm no neighbour."""
    (chat,) = conversations(1)["messages"].to_pylist()
    rows = pa.table({"messages": [chat, chat[:1], [chat[0], {**chat[1], "content": "4"}]]})
    found = gradient_encoder(warm[0], side="pool", width=64).encode(rows)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False]
    cut = gradient_encoder(warm[0], side="pool", width=64, max_length=5).encode(rows)
    assert np.isnan(cut).all()
    beside = warm[0].folder.parent.parent / "none"
    with pytest.raises(UserError, match="none of the 1 rows has a reply"):
        warm_up(rows.slice(1, 1), NANO, beside, lora=SMALL)
    with pytest.raises(UserError, match=r"a warm-up of 1 steps \(1 rows in batches of 4\)"):
        warm_up(rows.slice(0, 1), NANO, beside, lora=SMALL._replace(epochs=1))


def test_less_end_to_end(warm: list[Checkpoint], tmp_path: Path) -> None:
    """Features of both checkpoints, blended by rate: a query's copy in the pool ranks first."""
    chats = conversations(10)
    pool = Shards.write(
        tmp_path / "pool", chats.append_column("id", pa.array([f"p{i}" for i in range(10)]))
    )
    queries = Shards.write(tmp_path / "q", chats.slice(2, 1).append_column("id", pa.array(["q"])))
    made = []
    for number, checkpoint in enumerate(warm):
        pair = [
            features(
                rows,
                gradient_encoder(checkpoint, side=side, width=1024),
                tmp_path / f"{side}-{number}",
            )
            for rows, side in ((pool, "pool"), (queries, "queries"))
        ]
        made.append(pair)
    ids = made[0][0].ids()

    def scores(weights: np.ndarray) -> np.ndarray:
        ((_, found),) = blend([stream_scores(*pair) for pair in made], weights)
        return found[:, 0]

    blended = scores(checkpoint_weights(warm))
    assert ids[int(blended.argmax())] == "p2"
    ((_, first),) = stream_scores(*made[0])
    assert scores(np.array([1.0, 0.0])) == pytest.approx(first[:, 0])
