"""Token losses of the nano model, and the selection scores that are made of them."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.engines.torch_local import token_losses
from pipeline.errors import UserError
from scorers.likelihood import color, confidence, fittest, ifd, mean_loss
from scorers.token_losses import loss_encoder, losses_of, statuses
from tests.test_hidden_states import NANO, conversations


def encode(rows: pa.Table, part: str = "reply", **options: object) -> np.ndarray:
    """Sums, counts and cuts under the nano model."""
    return loss_encoder(NANO, part=part, **options).encode(rows)  # type: ignore[arg-type]


def test_losses_are_those_of_the_tokens_of_the_reply() -> None:
    """Sum and count equal the tail of the whole text's losses, from the reply's first token on."""
    from pipeline.engines.forward import load_causal

    _, tokenizer = load_causal(NANO)
    rows = conversations(3)
    for row, (total, tokens, cut) in zip(rows.to_pylist(), encode(rows), strict=True):
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        reply = len(tokenizer.encode(row["messages"][-1]["content"] + "<|end|>"))
        (all_of_it,) = token_losses(NANO, [text])
        assert (tokens, cut) == (reply, 0)
        assert total == pytest.approx(all_of_it[-reply:].sum(), rel=1e-4)


def test_neighbours_do_not_matter() -> None:
    """A row's numbers are the same alone, in a batch and in another order."""
    rows = conversations(9)
    together = encode(rows)
    alone = np.concatenate([encode(rows.slice(i, 1)) for i in range(9)])
    assert alone == pytest.approx(together, rel=1e-4)
    assert encode(rows.take(list(range(8, -1, -1))))[::-1] == pytest.approx(together, rel=1e-4)


def test_parts_add_up() -> None:
    """Alone a reply lacks its first token; after its header it has it, and context lowers it."""
    rows = conversations(6)
    given, header, alone = (
        losses_of(encode(rows, part)) for part in ("reply", "reply_after_header", "reply_alone")
    )
    assert given.tokens.tolist() == header.tokens.tolist() == (alone.tokens + 1).tolist()
    assert (given.total < header.total).all()
    assert (losses_of(encode(rows, "prompt_alone")).tokens > 9).all()


def test_scores_with_a_real_model() -> None:
    """The prompt that belongs to a reply makes it easier than another row's, by every IFD."""
    rows = conversations(8).to_pylist()
    strangers = [
        {"messages": [rows[i - 1]["messages"][0], row["messages"][1]]} for i, row in enumerate(rows)
    ]
    own, other = (pa.Table.from_pylist(table) for table in (rows, strangers))
    alone, prompt = losses_of(encode(own, "reply_alone")), losses_of(encode(own, "prompt_alone"))
    for options in ({}, {"ratio": "perplexity"}, {"prompt": prompt}):
        ours = ifd(losses_of(encode(own)), alone, **options)  # type: ignore[arg-type]
        theirs = ifd(losses_of(encode(other)), alone, **options)  # type: ignore[arg-type]
        assert (ours < theirs).all()
    # GRAPE: of a right worked answer and one to another problem the right one fits.
    both = losses_of(encode(pa.concat_tables([own, other])))
    groups, ids = [str(i % 8) for i in range(16)], [f"{i:02d}" for i in range(16)]
    assert sorted(fittest(groups, both, ids).tolist()) == list(range(8))


def test_scores_over_two_models(tiny_model) -> None:
    """A model that knows the world lowers the loss of one that does not; confidences follow."""
    rows = conversations(6)
    knowing = losses_of(encode(rows))
    blank = losses_of(loss_encoder(str(tiny_model)).encode(rows), cut="keep")
    assert (color(blank, knowing) > 1).all()
    early, late = confidence([blank]), confidence([knowing])
    assert (late > early).all() and (late < -1).all()
    assert confidence([blank, knowing]) == pytest.approx((early + late) / 2)


def test_rows_without_a_whole_loss() -> None:
    """Cut rows are marked and left out unless kept; rows without a reply are empty, not zero."""
    (chat,) = conversations(1)["messages"].to_pylist()
    rows = pa.table({"messages": [chat, chat[:1], []]})
    found = encode(rows)
    assert statuses(found) == ["ok", "empty", "empty"]
    assert np.isnan(mean_loss(losses_of(found))).tolist() == [False, True, True]
    (length,) = [int(encode(rows.slice(0, 1), "everything")[0, 1]) + 1]
    cut = encode(rows.slice(0, 1), max_length=length - 2)
    assert statuses(cut) == ["truncated"]
    assert np.isnan(mean_loss(losses_of(cut))).all()
    assert np.isfinite(mean_loss(losses_of(cut, cut="keep"))).all()
    assert statuses(encode(rows.slice(0, 1), max_length=length)) == ["ok"]
    assert statuses(np.full((1, 3), np.nan)) == ["nonfinite"]
    assert encode(rows.slice(3)).shape == (0, 3)
    with pytest.raises(UserError, match="3 numbers a row, these vectors 2"):
        losses_of(np.zeros((1, 2)))


def test_identity_knows_the_part() -> None:
    """Each part and limit is a folder of its own."""
    made = {loss_encoder(NANO, part=part).identity for part in ("reply", "reply_alone")}
    assert len(made | {loss_encoder(NANO, max_length=7).identity}) == 3
