"""Seeded sampling of a batch of completions from a transformers model, token by token."""

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.engines import Completion, FinishReason, Request, Sampling


def generate(
    model: Any,
    tokenizer: Any,
    requests: Sequence[Request],
    prompts: Sequence[Sequence[int]],
    deliver: Callable[[int, Completion], None],
    *,
    stopped: Callable[[], bool],
) -> None:
    """Answer the requests together; `deliver(row, completion)` as each is finished.

    `prompts` are token ids, none empty, each shorter than the context. Ends early, without
    delivering the rest, when `stopped()` turns true.
    """
    import torch
    from transformers import DynamicCache

    rows = [_Row(tokenizer, model, *pair) for pair in zip(requests, prompts, strict=True)]
    alive = list(range(len(rows)))
    width = max(map(len, prompts))
    # Left padding: the last column is the newest token of every row.
    pads = [width - len(prompt) for prompt in prompts]
    ids = torch.tensor([[0] * pad + list(p) for pad, p in zip(pads, prompts, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        while not stopped():
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            logits = (
                model(
                    input_ids=ids.to(model.device),
                    attention_mask=mask.to(model.device),
                    position_ids=positions.to(model.device),
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                .logits[:, -1]
                .double()
                .cpu()
            )
            going = [i for i, row in enumerate(alive) if rows[row].take(logits[i])]
            for i in set(range(len(alive))) - set(going):
                deliver(alive[i], rows[alive[i]].completion())
            if not going:
                return
            if len(going) < len(alive):
                alive = [alive[i] for i in going]
                mask = mask[going]
                cache.batch_select_indices(torch.tensor(going, dtype=torch.long).to(model.device))
            ids = torch.tensor([[rows[row].tokens[-1]] for row in alive])
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)


class _Row:
    """One completion as it grows."""

    def __init__(self, tokenizer: Any, model: Any, request: Request, prompt: Sequence[int]) -> None:
        import torch

        self.request, self.tokenizer, self.n_prompt = request, tokenizer, len(prompt)
        self.generator = torch.Generator().manual_seed(request.seed & (2**63 - 1))
        room = int(model.config.max_position_embeddings) - len(prompt)
        self.room = min(request.sampling.max_tokens, room)
        self.ends = _end_tokens(model, tokenizer)
        self.tokens: list[int] = []
        self.text = ""
        self.sum_logprob = 0.0
        self.reason: FinishReason = "length"

    def take(self, logits: Any) -> bool:
        """Draw the next token from logits of shape (vocabulary,); return whether to go on."""
        token = _draw(logits, self.request.sampling, self.generator)
        self.tokens.append(token)
        if self.request.sampling.logprobs:
            self.sum_logprob += float(logits.log_softmax(-1)[token])
        ended = token in self.ends
        if self.request.sampling.stop or ended or len(self.tokens) == self.room:
            self.text = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
        found = [at for s in self.request.sampling.stop if (at := self.text.find(s)) >= 0]
        if found:
            self.text = self.text[: min(found)]
        if found or ended:
            self.reason = "stop"
        return not (found or ended or len(self.tokens) == self.room)

    def completion(self) -> Completion:
        """The finished answer."""
        return Completion(
            self.request.rollout_id,
            self.text,
            self.reason,
            n_tokens=len(self.tokens),
            n_prompt_tokens=self.n_prompt,
            sum_logprob=self.sum_logprob if self.request.sampling.logprobs else None,
        )


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}


def _draw(logits: Any, sampling: Sampling, generator: Any) -> int:
    """Draw one token: temperature, then top_k, then top_p; greedy at temperature 0."""
    import torch

    if sampling.temperature == 0:
        return int(logits.argmax())
    weights = (logits / sampling.temperature).softmax(-1)
    if sampling.top_k or sampling.top_p < 1:
        ordered, order = weights.sort(descending=True, stable=True)
        if sampling.top_k:
            ordered[sampling.top_k :] = 0
        # Kept: the fewest tokens whose mass reaches top_p, hence at least one.
        before = ordered.cumsum(-1) - ordered
        ordered[before >= sampling.top_p * ordered.sum()] = 0
        weights = torch.zeros_like(weights).scatter(0, order, ordered)
    mass = weights.cumsum(-1)
    point = torch.rand((), generator=generator, dtype=torch.float64) * mass[-1]
    return min(int(torch.searchsorted(mass, point, right=True)), len(mass) - 1)
