"""The loss of replies with its graph, and a batch's gradient a few rows at a time: what the short
training runs (`tuning`, `warm_up`) and row gradients share.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pipeline.engines.forward import micro_batches, pad
from scorers.conversations import Encoded

_TOKENS_AT_ONCE = 4096


def reply_losses(model: Any, rows: Sequence[Encoded]) -> Any:
    """Return the mean loss of each row's counted tokens, a float32 tensor [n] with its graph."""
    import torch

    ids, mask = pad([row.tokens for row in rows], model.device)
    counted = torch.zeros(ids.shape, dtype=torch.float32)
    for line, row in zip(counted, rows, strict=True):
        line[: len(row.counted)] = torch.from_numpy(row.counted)
    counted = counted[:, 1:].to(model.device)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return (losses * counted).sum(dim=1) / counted.sum(dim=1)


def add_gradient(model: Any, rows: Sequence[Encoded], *, over: Literal["rows", "tokens"]) -> None:
    """Add a batch's gradient to the parameters' own, in micro-batches.

    over "rows": of the mean over rows of their mean losses, so that every row weighs the same;
    "tokens": of the mean over all counted tokens, so that long replies weigh more.
    """
    import torch

    weights = [1.0 if over == "rows" else float(row.counted[1:].sum()) for row in rows]
    for places in micro_batches([row.tokens for row in rows], _TOKENS_AT_ONCE):
        losses = reply_losses(model, [rows[i] for i in places])
        shares = torch.tensor([weights[i] / sum(weights) for i in places], device=losses.device)
        (losses * shares).sum().backward()
