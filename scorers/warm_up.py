"""The short LoRA run of LESS whose checkpoints, with Adam's moments by name, gradients refer to.

Xia et al., arXiv 2402.04333, section 4.1; `princeton-nlp/LESS`. Code and paper differ in one thing
here: the learning rate falls linearly in the code (and in the published weights), by a cosine in
the paper.

    FOLDER/epoch-1/adapter_model.safetensors   as peft saves it
    FOLDER/epoch-1/moments.safetensors         NAME/m and NAME/v of every trained parameter
    FOLDER/epoch-1/checkpoint.json             written last: base model, step, mean learning rate
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from pipeline.engines.checkpoint import identify, locate
from pipeline.engines.forward import context_of, open_causal
from pipeline.errors import UserError
from pipeline.files import lock_folder, write_file
from pipeline.schema import canonical, digest
from scorers.conversations import Encoded, encode_turns, template_name, turns_of
from scorers.reply_loss import add_gradient

_log = logging.getLogger(__name__)

Mode = Literal["code", "paper"]


class Lora(NamedTuple):
    """What is trained and how; the defaults are the published ones."""

    rank: int = 128
    alpha: int = 512
    dropout: float = 0.1
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    epochs: int = 4
    batch: int = 128
    learning_rate: float = 2e-5
    warm_up_share: float = 0.03


class Checkpoint(NamedTuple):
    """A finished epoch: its folder, the optimiser's step, the epoch's mean learning rate."""

    folder: Path
    step: int
    learning_rate: float


def warm_up(
    rows: pa.Table,
    model: str,
    folder: str | Path,
    *,
    lora: Lora = Lora(),  # noqa: B008 - an immutable tuple
    mode: Mode = "code",
    template: str | None = None,
    max_length: int = 2048,
    seed: int = 3,
) -> list[Checkpoint]:
    """Tune LoRA on the replies of a sample (5 % of the pool, as published), a checkpoint an epoch.

    The loss is the mean over a batch's rows of their mean token losses. Rows without a reply, or
    whose reply lies beyond the limit, are left out, and the log says how many. A killed run goes on
    after its last epoch and ends as it would have. Raises UserError for a folder that was made
    from other rows or settings, and when no row has a reply.
    """
    import torch

    if min(lora.rank, lora.batch) < 1:
        raise UserError(f"rank = {lora.rank}, batch = {lora.batch}: each must be at least 1")
    folder = Path(folder)
    name = identify(locate(model))
    base, tokenizer = open_causal(model)
    encoded = _replies(rows, tokenizer, template, min(max_length, context_of(base)))
    layout = template_name(tokenizer, template, "replies")
    key = digest(name, lora._asdict(), mode, layout, seed, [one.tokens for one in encoded])
    steps = lora.epochs * math.ceil(len(encoded) / lora.batch)
    rates = learning_rates(steps, peak=lora.learning_rate, share=lora.warm_up_share, mode=mode)
    if not rates.any():
        raise UserError(
            f"a warm-up of {steps} steps ({len(encoded)} rows in batches of {lora.batch}) has a "
            "learning rate of 0 throughout; give it a rate, more rows or smaller batches"
        )
    with lock_folder(folder), torch.random.fork_rng():
        _claim(folder, key)
        tuned = _adapted(base, lora, seed)
        optimizer = torch.optim.AdamW([p for _, p in _trained(tuned)], weight_decay=0.0)
        done = [_restore(folder, e, tuned, optimizer) for e in range(1, lora.epochs + 1)]
        found = [one for one in done if one is not None]
        for epoch in range(len(found) + 1, lora.epochs + 1):
            own = np.split(rates, lora.epochs)[epoch - 1]
            _train(tuned, optimizer, encoded, own, lora.batch, (seed, epoch))
            rate = float(own.mean())
            record = {
                "model": model,
                "identity": name,
                "lora": lora._asdict(),
                "step": epoch * len(own),
            }
            found.append(_save(folder, epoch, tuned, optimizer, {**record, "learning_rate": rate}))
    return found


def learning_rates(steps: int, *, peak: float, share: float, mode: Mode) -> np.ndarray:
    """Return each step's learning rate, float64[steps]: up over a share of them, then down to 0."""
    rise = math.ceil(share * steps)
    done = np.arange(steps, dtype=np.float64)
    fallen = (done - rise) / max(1, steps - rise)
    after = 1 - fallen if mode == "code" else (1 + np.cos(np.pi * fallen)) / 2
    rates: np.ndarray = peak * np.where(done < rise, done / max(1, rise), after)
    return rates


def checkpoint_weights(checkpoints: Sequence[Checkpoint]) -> np.ndarray:
    """Return the checkpoints' shares of a score, float64, sum 1: by mean learning rate."""
    rates = np.array([one.learning_rate for one in checkpoints], dtype=np.float64)
    shares: np.ndarray = rates / rates.sum()
    return shares


def load_checkpoint(folder: str | Path) -> tuple[Any, Any, dict[str, Any]]:
    """Load (tuned model, tokenizer, moments: name -> (m, v)) of a checkpoint, without dropout.

    Raises UserError unless the base model is the one tuned and every parameter has its moments.
    """
    from peft import PeftModel
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / "checkpoint.json").is_file():
        raise UserError(f"{folder}: there is no checkpoint.json; run the warm-up to its end")
    record = orjson.loads((folder / "checkpoint.json").read_bytes())
    if (now := identify(locate(record["model"]))) != record["identity"]:
        raise UserError(f"{folder}: was tuned from {record['identity']}, the base model is {now}")
    base, tokenizer = open_causal(record["model"])
    tuned = PeftModel.from_pretrained(base, str(folder), is_trainable=True).eval()
    kept = load_file(folder / "moments.safetensors", device=str(base.device))
    names = [name for name, _ in _trained(tuned)]
    if set(kept) != {f"{name}/{which}" for name in names for which in "mv"}:
        raise UserError(f"{folder}: {len(kept)} moments for {len(names)} parameters, need 2 each")
    return tuned, tokenizer, {name: (kept[f"{name}/m"], kept[f"{name}/v"]) for name in names}


def checkpoint_identity(folder: str | Path) -> tuple[str, str]:
    """Return (model, revision) of a checkpoint: base model, LoRA settings, weights and moments."""
    record = orjson.loads((Path(folder) / "checkpoint.json").read_bytes())
    name, _, base = record["identity"].rpartition("@")
    own = digest(identify(Path(folder)), record["lora"], record["step"])[:12]
    return name, f"{base}+lora-{own}"


def _replies(rows: pa.Table, tokenizer: Any, template: str | None, limit: int) -> list[Encoded]:
    encoded = [
        encode_turns(tokenizer, turns_of(row), part="replies", limit=limit, template=template)
        for row in rows.to_pylist()
    ]
    kept = [one for one in encoded if one.counted[1:].any()]
    if len(kept) < len(encoded):
        _log.warning("%d of %d rows have no reply to learn", len(encoded) - len(kept), len(encoded))
    if not kept:
        raise UserError(f"none of the {len(encoded)} rows has a reply within {limit} tokens")
    return kept


def _claim(folder: Path, key: str) -> None:
    mark = folder / "warm_up.json"
    if mark.is_file() and orjson.loads(mark.read_bytes())["key"] != key:
        raise UserError(
            f"{folder}: was warmed up with other rows or settings; remove it or choose another"
        )
    write_file(mark, canonical({"key": key}))


def _adapted(base: Any, lora: Lora, seed: int) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    return get_peft_model(
        base,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.modules),
            task_type="CAUSAL_LM",
        ),
    )


def _trained(model: Any) -> list[tuple[str, Any]]:
    return [(name, own) for name, own in model.named_parameters() if own.requires_grad]


def _train(
    model: Any, optimizer: Any, rows: Sequence[Encoded], rates: np.ndarray, batch: int,
    place: tuple[int, int],
) -> None:  # fmt: skip
    """Train one epoch; its order and dropout depend on (seed, epoch) alone."""
    import torch

    torch.manual_seed(int(digest(place)[:15], 16))
    model.train()
    order = np.random.default_rng(place).permutation(len(rows))
    for step, rate in enumerate(rates):
        chosen = [rows[i] for i in order[step * batch : (step + 1) * batch]]
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.zero_grad()
        add_gradient(model, chosen, over="rows")
        optimizer.step()


def _save(
    folder: Path, epoch: int, model: Any, optimizer: Any, record: Mapping[str, Any]
) -> Checkpoint:
    from safetensors.torch import save_file

    own = folder / f"epoch-{epoch}"
    model.save_pretrained(str(own))
    moments = {}
    for name, parameter in _trained(model):
        state = optimizer.state[parameter]
        moments[f"{name}/m"], moments[f"{name}/v"] = state["exp_avg"], state["exp_avg_sq"]
    save_file(moments, own / "moments.safetensors")
    write_file(own / "checkpoint.json", canonical(record))
    return Checkpoint(own, record["step"], record["learning_rate"])


def _restore(folder: Path, epoch: int, model: Any, optimizer: Any) -> Checkpoint | None:
    """Put a finished epoch's weights and moments in place; None if it was not finished."""
    import torch
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    own = folder / f"epoch-{epoch}"
    if not (own / "checkpoint.json").is_file():
        return None
    record = orjson.loads((own / "checkpoint.json").read_bytes())
    set_peft_model_state_dict(model, load_file(own / "adapter_model.safetensors"))
    kept = load_file(own / "moments.safetensors")
    for name, parameter in _trained(model):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(record["step"])),
            "exp_avg": kept[f"{name}/m"].to(parameter),
            "exp_avg_sq": kept[f"{name}/v"].to(parameter),
        }
    return Checkpoint(own, record["step"], record["learning_rate"])
