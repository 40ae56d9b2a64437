"""A five-million-parameter Llama: its tokenizer, its training loop and its files.

Examples (messages, reply) go in, a folder that transformers and vLLM load comes out. The loop is
plain torch on CPU: hidden matrices by Muon, the rest by AdamW, bf16 autocast, loss on replies only,
batches of similar length instead of packing. It resumes from its state file after a kill.
"""

import json
import logging
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

logger = logging.getLogger(__name__)

Message = dict[str, str]
Example = tuple[list[Message], str]  # the prompt's messages, the assistant's reply

CONTEXT = 512  # tokens
VOCABULARY = 2048  # at most; merges that the corpus does not offer are not made
SPECIALS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Run:
    """One training run: `examples(i)` returns the i-th chunk of the endless corpus."""

    examples: Callable[[int], list[Example]]
    tokens: int  # of the whole schedule, prompts included
    stop_at: float = 1.0  # fraction of the schedule at which to stop
    seed: int = 0
    batch_tokens: int = 3072
    save_seconds: float = 180.0
    peak: float = 1.0  # factor of the optimisers' peak rates


def build_tokenizer(examples: Sequence[Example]) -> Any:
    """Train a byte-level BPE with single digits; returns a PreTrainedTokenizerFast.

    Quoted strings are left out, so that random letters in assertions get no merges.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (
        part["content"] for messages, reply in examples for part in [*messages, {"content": reply}]
    )
    raw.train_from_iterator((re.sub(r"'[a-zA-Z0-9]*'", "''", text) for text in texts), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(tokenizer: Any, seed: int) -> Any:
    """Return a fresh LlamaForCausalLM in float32 for this tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # at these lengths faster on CPU than flash attention
    return model


def train(model: Any, tokenizer: Any, run: Run, state: Path) -> int:
    """Train until the schedule's `stop_at`; return the tokens seen. Resumes from `state`."""
    import torch

    optimisers = _optimisers(model)
    words = tokenizer.backend_tokenizer.to_str()
    chunk, seen = _resume(state, words, model, optimisers)
    saved, began, seen_at_start = time.monotonic(), time.monotonic(), seen
    while seen < run.tokens * run.stop_at:
        losses = []
        for batch in _batches(run.examples(chunk), tokenizer, run, chunk):
            rate = run.peak * _rate(seen / run.tokens)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = group["peak"] * rate
            losses.append(_update(model, batch, optimisers))
            seen += sum(len(ids) for ids, _ in batch)
        chunk += 1
        speed = (seen - seen_at_start) / (time.monotonic() - began)
        loss = sum(losses) / len(losses)
        logger.info("tokens %d of %d, loss %.4f, %.0f tokens/s", seen, run.tokens, loss, speed)
        if time.monotonic() - saved > run.save_seconds or seen >= run.tokens * run.stop_at:
            found = {"chunk": chunk, "seen": seen, "model": model.state_dict()}
            found["tokenizer"] = words
            found["optimisers"] = [optimiser.state_dict() for optimiser in optimisers]
            torch.save(found, state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
            saved = time.monotonic()
    return seen


def load(folder: Path) -> tuple[Any, Any]:
    """Open what `save` wrote, to be trained on: the model in float32 and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.set_attn_implementation("eager")
    return model, AutoTokenizer.from_pretrained(folder)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write config, bf16 safetensors, tokenizer and generation config that engines load."""
    import copy

    import torch

    folder.mkdir(parents=True, exist_ok=True)
    half = copy.deepcopy(model).to(torch.bfloat16)
    half.config.dtype = torch.bfloat16
    half.generation_config.do_sample = True
    half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    # Older readers know this class name only, and look for the template only here.
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _said(reply: str) -> Message:
    return {"role": "assistant", "content": reply}


def _optimisers(model: Any) -> list[Any]:
    import torch

    hidden = [p for p in model.model.layers.parameters() if p.ndim == 2]
    ids = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in ids]
    muon = torch.optim.Muon(
        [{"params": hidden, "peak": 0.02}], lr=0.02, weight_decay=0.02, momentum=0.95
    )
    adam = torch.optim.AdamW(
        [{"params": rest, "peak": 3e-3}], lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0
    )
    return [muon, adam]


def _resume(state: Path, words: str, model: Any, optimisers: Sequence[Any]) -> tuple[int, int]:
    import torch

    state.parent.mkdir(parents=True, exist_ok=True)
    if not state.exists():
        return 0, 0
    found = torch.load(state, weights_only=True)
    if found["tokenizer"] != words:
        raise UserError(f"{state} was trained on another corpus; delete it or name another --state")
    model.load_state_dict(found["model"])
    for optimiser, inner in zip(optimisers, found["optimisers"], strict=True):
        optimiser.load_state_dict(inner)
    logger.info("resuming at %d tokens", found["seen"])
    return int(found["chunk"]), int(found["seen"])


def _rate(progress: float) -> float:
    """Return the learning rate's factor: 2 % of warm-up, then a cosine to nothing."""
    warm = min(1.0, progress / 0.02 + 0.05)
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


Encoded = tuple[list[int], int]  # ids of prompt and reply, length of the prompt


def _encode(examples: Sequence[Example], tokenizer: Any) -> list[Encoded]:
    prompts = [
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        for messages, _ in examples
    ]
    heads = tokenizer(prompts).input_ids
    tails = tokenizer([reply + "<|end|>" for _, reply in examples]).input_ids
    pairs = [(head + tail, len(head)) for head, tail in zip(heads, tails, strict=True)]
    longest = max(len(ids) for ids, _ in pairs)
    if longest > CONTEXT:
        raise UserError(f"a training example has {longest} tokens, more than {CONTEXT}; shorten it")
    return pairs


def _batches(
    examples: Sequence[Example], tokenizer: Any, run: Run, chunk: int
) -> Iterator[list[Encoded]]:
    """Sort a chunk by length, cut it into batches of equal padded size, and shuffle those."""
    rows = sorted(_encode(examples, tokenizer), key=lambda row: len(row[0]))
    batches: list[list[Encoded]] = [[]]
    for row in rows:
        if len(row[0]) * (len(batches[-1]) + 1) > run.batch_tokens:
            batches.append([])
        batches[-1].append(row)
    random.Random(f"{run.seed}/{chunk}").shuffle(batches)
    yield from batches


def _update(model: Any, batch: Sequence[Encoded], optimisers: Sequence[Any]) -> float:
    """Take one step on the mean loss over reply tokens; return that loss (nats a token)."""
    import torch

    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in batch])
    position = torch.arange(width)
    starts = torch.tensor([start for _, start in batch])[:, None]
    ends = torch.tensor([len(row) for row, _ in batch])[:, None]
    wanted = (position >= starts) & (position < ends)  # the reply and its end token
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1][wanted[:, 1:]]
        logits = model.lm_head(hidden)
    loss = torch.nn.functional.cross_entropy(logits.float(), ids[wanted])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return float(loss.detach())
