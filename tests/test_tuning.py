"""Short tuning runs and label logits with the built-in model."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines.forward import open_causal
from pipeline.errors import UserError
from pipeline.nano_pool import nano_pool, nano_queries
from scorers.digits import evol
from scorers.labels import label_logits
from scorers.likelihood import mean_loss
from scorers.token_losses import loss_encoder, losses_of
from scorers.tuning import Schedule, tune

NANO = "data/nano"


def test_tuning_lowers_the_loss_and_is_not_done_twice(tmp_path: Path) -> None:
    """Rows tuned on lose loss, each checkpoint more; only the same run finds its folders again."""
    rows = nano_queries(6)
    schedule = Schedule(epochs=2, batch=4, seed=1)
    folders = tune(NANO, rows, tmp_path / "t", schedule, checkpoints=2)
    models = [NANO, *folders]
    losses = [mean_loss(losses_of(loss_encoder(m).encode(rows))).mean() for m in models]
    assert losses[0] > losses[1] > losses[2]
    written = Path(folders[1], "model.safetensors").stat().st_mtime_ns
    assert tune(NANO, rows, tmp_path / "t", schedule, checkpoints=2) == folders
    assert Path(folders[1], "model.safetensors").stat().st_mtime_ns == written
    tune(NANO, rows.slice(0, 4), tmp_path / "t", schedule, checkpoints=2)
    assert Path(folders[1], "model.safetensors").stat().st_mtime_ns != written


def test_rows_without_a_reply_cannot_be_tuned_on(tmp_path: Path) -> None:
    """A table of prompts alone is refused with the count."""
    rows = nano_pool(8).drop_columns(["messages"])
    asked = rows.append_column("prompt", rows["id"])
    with pytest.raises(UserError, match="none of 8 rows"):
        tune(NANO, asked, tmp_path, Schedule())


def test_checkpoints_need_a_step_each(tmp_path: Path) -> None:
    """More checkpoints than steps, no epoch and empty batches are refused before any step."""
    rows = nano_queries(6)
    for schedule in (Schedule(batch=2), Schedule(epochs=0)):
        with pytest.raises(UserError, match=r"4 checkpoints of a run of \d steps"):
            tune(NANO, rows, tmp_path, schedule, checkpoints=4)
    with pytest.raises(UserError, match="batch = 0"):
        tune(NANO, rows, tmp_path, Schedule(batch=0))


def test_transformers_draws_no_bars(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Loading, tuning and saving write nothing to the terminal; bars stay as they were.

    Without that block the same calls draw some.
    """
    from transformers.utils import logging as shown

    shown.enable_progress_bar()
    open_causal(NANO)
    tune(NANO, nano_queries(6), tmp_path, Schedule())
    said = capfd.readouterr()
    assert "%|" not in said.err + said.out and shown.is_progress_bar_enabled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.engines.forward.without_bars", nullcontext)
        open_causal(NANO)
    assert "Loading weights: 100%|" in capfd.readouterr().err


def test_labels_know_no_batch() -> None:
    """A conversation's logits do not depend on its neighbours; an empty or too long one is NaN."""
    texts = ["Which digit?", "a longer question about digits " * 8, "", "x " * 2000]
    asked = [[{"role": "user", "content": text}] for text in texts]
    together = label_logits(NANO, asked, ["1", "2", "3"])
    alone = np.concatenate([label_logits(NANO, [one], ["1", "2", "3"]) for one in asked])
    assert together[:2] == pytest.approx(alone[:2], abs=1e-4)
    assert np.isnan(together[2:]).all() and together.shape == (4, 3)
    with pytest.raises(UserError, match="the same token"):
        label_logits(NANO, asked, ["1", "1"])


def test_raters_score_every_turn() -> None:
    """Two turns score the sum of their products; a row too long for a rater is null."""
    rows = nano_pool(16).slice(0, 3)
    one, two, _ = rows["messages"].to_pylist()
    long = [{"role": "user", "content": "x " * 3000}, {"role": "assistant", "content": "y"}]
    table = rows.set_column(1, "messages", [[one, [*one, *two], long]])
    how = {"complexity": NANO, "quality": NANO}
    how |= {"ask_complexity": "{{ prompt }}", "ask_quality": "{{ prompt }} {{ reply }}"}
    single = evol(rows, **how).to_pylist()
    found = evol(table, **how).to_pylist()
    assert found[0] == pytest.approx(single[0], abs=1e-3)
    assert found[1] == pytest.approx(single[0] + single[1], abs=1e-3) and found[2] is None
