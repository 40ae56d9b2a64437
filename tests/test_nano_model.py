"""The nano model: its tokenizer and loop, and the weights in the repository."""

from pathlib import Path

import pytest

from flows.rejection.dart_math import SOLVE
from flows.synthesis.measure_nano import asserted, open_model, solved
from flows.synthesis.train_nano import STAGES, ask, draw_chunk
from pipeline.errors import UserError
from pipeline.nano_model import CONTEXT, Run, build_model, build_tokenizer, save, train
from pipeline.nano_world import code_tasks, word_problems, worked_answer

NANO = Path(__file__).resolve().parents[1] / "data" / "nano"
EXAMPLES = draw_chunk(0, 0, 48)


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer trained on a few examples of every stage."""
    return build_tokenizer(EXAMPLES)


def test_digits_are_tokens_of_their_own_and_text_survives(tokenizer):
    """Numbers fall into single digits, and decoding gives back prompt and reply."""
    assert tokenizer.tokenize("1207") == ["1", "2", "0", "7"]
    for messages, reply in EXAMPLES:
        for text in (messages[0]["content"], reply):
            assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_every_stage_is_drawn_and_a_chunk_is_repeatable():
    """The corpus is a function of seed and index; stages have names of their own and a share."""
    assert draw_chunk(3, 5, 20) == draw_chunk(3, 5, 20) != draw_chunk(4, 5, 20)
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    assert all(stage.share > 0 for stage in STAGES)


def test_a_run_cut_in_two_ends_where_the_whole_run_ends(tokenizer, tmp_path):
    """Stopping and resuming from the state file gives the very weights of an uninterrupted run."""
    import torch

    torch.set_num_threads(1)

    def trained(name: str, *stops: float) -> dict[str, torch.Tensor]:
        for stop in stops:
            model = build_model(tokenizer, seed=1)
            run = Run(lambda i: EXAMPLES[i * 12 : i * 12 + 12], tokens=3500, stop_at=stop)
            seen = train(model, tokenizer, run, tmp_path / name)
            assert seen >= 3500 * stop
        return model.state_dict()

    whole, halves = trained("whole.pt", 1.0), trained("halves.pt", 0.4, 1.0)
    assert all(torch.equal(whole[key], halves[key]) for key in whole)


def test_a_state_of_another_corpus_is_refused(tokenizer, tmp_path):
    """Going on with weights whose tokens meant something else would be silent nonsense."""
    state = tmp_path / "state.pt"
    run = Run(lambda i: EXAMPLES[:8], tokens=10)
    train(build_model(tokenizer, 0), tokenizer, run, state)
    other = build_tokenizer([([{"role": "user", "content": "abc"}], "abc abc")])
    with pytest.raises(UserError, match="trained on another corpus"):
        train(build_model(other, 0), other, run, state)


def test_training_lowers_the_loss_and_the_folder_loads(tokenizer, tmp_path, caplog):
    """A few steps on the same examples are learnt; the saved folder is bf16 and has a template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    caplog.set_level("INFO")
    model = build_model(tokenizer, seed=1)
    train(model, tokenizer, Run(lambda i: EXAMPLES[:16], tokens=15000), tmp_path / "state.pt")
    losses = [record.args[2] for record in caplog.records if "loss" in record.msg]
    assert losses[-1] < losses[0] / 2
    save(model, tokenizer, tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert again.dtype == torch.bfloat16
    rendered = AutoTokenizer.from_pretrained(tmp_path / "model").apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered == "<|user|>Hi<|end|><|assistant|>"


def test_an_example_longer_than_the_context_is_refused(tokenizer, tmp_path):
    """A stage that draws too long an example is told the two numbers, not trained on silently."""
    long = [([{"role": "user", "content": "1" * 600}], "2")]
    run = Run(lambda i: long, tokens=10)
    with pytest.raises(UserError, match=f"60[0-9] tokens, more than {CONTEXT}"):
        train(build_model(tokenizer, 0), tokenizer, run, tmp_path / "state.pt")


def test_measuring_accepts_the_oracle_and_refuses_mistakes():
    """Oracle replies and correct assertions count, wrong answers and wrong assertions do not."""
    for row in word_problems(64, seed=2, split="test").to_pylist():
        assert solved(row, worked_answer(row)) == [True]
        assert solved(row, worked_answer(row) + " Or \\boxed{-1}.") == [False]
    for row in code_tasks(40, seed=2, split="test").to_pylist():
        reply = "```python\n{}\n```"
        assert all(asserted(row, reply.format("\n".join(row["tests"]))))
        assert not any(asserted(row, reply.format("\n".join(row["wrong_tests"]))))
        assert asserted(row, "no block") == [False]


def test_the_weights_fit_and_solve_the_easiest_level():
    """data/nano is at most 12 MB and, greedy, gets most held-out problems of level 1 right."""
    assert sum(file.stat().st_size for file in NANO.iterdir()) <= 12_000_000
    reply = open_model(NANO, temperature=0.0, seed=0)
    rows = word_problems(24, seed=11, levels=[1], split="test").to_pylist()
    replies = reply([ask(SOLVE, row) for row in rows])
    passes = [solved(row, text)[0] for row, text in zip(rows, replies, strict=True)]
    assert sum(passes) >= 18
