"""Preflight finds what trainers would lose, in exports broken by hand."""

import json

import pytest

from pipeline.errors import UserError
from pipeline.preflight import check

USER = {"role": "user", "content": "2+2?"}
GOOD = {"role": "assistant", "content": "4"}
BAD = {"role": "assistant", "content": "5"}
TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}


def write(folder, rows, entry=None):
    """Write rows as JSON lines, with a dataset_info.json if there is an entry for it."""
    lines = [json.dumps({"row_id": f"r{i}", **row}) for i, row in enumerate(rows)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    if entry is not None:
        entry = {"file_name": "train.jsonl", "formatting": "sharegpt", "tags": TAGS} | entry
        (folder / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    return folder


def errors(folder, **options):
    """The rules that failed, each with its count."""
    found = check(folder, **options)
    return {finding.rule: finding.count for finding in found if finding.severity == "error"}


RANKING = {
    "ranking": True,
    "columns": {"messages": "messages", "chosen": "chosen", "rejected": "rejected"},
}


def test_llamafactory_list_valued_chosen(tmp_path):
    """TRL's list-valued chosen, which LLaMA-Factory drops without an error, is an error here."""
    row = {"messages": [USER], "chosen": [GOOD], "rejected": [BAD]}
    found = check(write(tmp_path, [row, row], RANKING))
    assert found[0].severity == "error"
    assert (found[0].rule, found[0].count, found[0].rows) == ("not_messages", 2, ("r0", "r1"))


def test_llamafactory_good_ranking(tmp_path):
    """The same pair with dicts has no error."""
    row = {"messages": [USER], "chosen": GOOD, "rejected": BAD}
    assert errors(write(tmp_path, [row], RANKING)) == {}


def test_llamafactory_even_prompt(tmp_path):
    """A prompt that ends with the assistant, which LLaMA-Factory skips, is found."""
    row = {"messages": [USER, GOOD], "chosen": GOOD, "rejected": BAD}
    assert errors(write(tmp_path, [row], RANKING))["not_alternating"] == 1


def test_llamafactory_missing_column(tmp_path):
    """A dataset_info.json that names a column which the data lacks is found."""
    row = {"messages": [USER], "chosen": GOOD, "loser": BAD}
    assert errors(write(tmp_path, [row], RANKING)) == {"column_missing": 1}


def test_llamafactory_missing_file(tmp_path):
    """A dataset_info.json that names a file which is not there is found."""
    folder = write(tmp_path, [], RANKING)
    (folder / "train.jsonl").unlink()
    assert errors(folder) == {"file_missing": 0}


def test_llamafactory_kto_tag_must_be_bool(tmp_path):
    """A label of 0 and 1 is not a KTO tag for LLaMA-Factory and is found."""
    rows = [{"messages": [USER, GOOD], "label": label} for label in (1, 0)]
    entry = {"columns": {"messages": "messages", "kto_tag": "label"}}
    assert errors(write(tmp_path, rows, entry))["label_not_bool"] == 2


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "empty_answer"),
        ({"messages": [USER]}, "no_answer"),
        ({"messages": [USER, {"role": "robot", "content": "4"}]}, "unknown_role"),
        ({"prompt": [USER], "completion": []}, "no_answer"),
        ({"prompt": [], "completion": [GOOD]}, "no_prompt"),
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [GOOD]}, "chosen_equals_rejected"),
        ({"prompt": "2+2?", "chosen": [GOOD], "rejected": [BAD]}, "not_messages"),
        ({"chosen": [USER, GOOD], "rejected": [GOOD, BAD]}, "prompts_differ"),
        ({"prompt": "2+2?", "completions": ["4"], "labels": [True, False]}, "labels_differ"),
        ({"prompt": "2+2?", "completions": [], "labels": []}, "no_steps"),
    ],
)
def test_trl_rows(tmp_path, row, rule):
    """Each way to break a row for TRL is found by name."""
    assert errors(write(tmp_path, [row])).get(rule) == 1


def test_one_bad_row_is_named(tmp_path):
    """A fault in one row of three is counted once, with that row's id."""
    rows = [{"messages": [USER, GOOD]}] * 3
    rows[1] = {"messages": [USER, {"role": "assistant", "content": " "}]}
    finding = check(write(tmp_path, rows))[0]
    assert (finding.rule, finding.rows) == ("empty_answer", ("r1",))
    assert finding.message.startswith("1 rows have an assistant turn without text")


def test_mixed_rows(tmp_path):
    """Text in one row of conversations, which the loader lets pass, is found."""
    rows = [{"messages": [USER, GOOD]}, {"messages": "2+2? 4"}]
    assert errors(write(tmp_path, rows)) == {"not_messages": 1, "converter": 1}


def test_torn_file(tmp_path):
    """A data file that was cut off in the middle of a line is found."""
    folder = write(tmp_path, [{"messages": [USER, GOOD]}] * 3)
    content = (folder / "train.jsonl").read_bytes()
    (folder / "train.jsonl").write_bytes(content[:-20])
    assert errors(folder) == {"unreadable": 0}


def test_dates(tmp_path):
    """JSON lines in which every answer is a date are read as timestamps, and that is found."""
    row = {"prompt": "When?", "completion": "2024-01-01", "label": True}
    assert errors(write(tmp_path, [row, row | {"label": False}]))["read_as_dates"] == 2


def test_kto_needs_both_labels(tmp_path):
    """A KTO set with one label only is an error, an uneven one a warning with the counts."""
    row = {"prompt": [USER], "completion": [GOOD], "label": True}
    assert errors(write(tmp_path, [row] * 12)) == {"one_label": 12}
    found = check(write(tmp_path, [row] * 12 + [row | {"label": False}]))
    assert "12 desirable and 1 undesirable" in found[0].message


def test_trl_is_asked(tmp_path, chat_tokenizer):
    """The findings say which TRL judged the rows, and its own complaint is among them."""
    row = {"prompt": "2+2?", "chosen": [GOOD], "rejected": [BAD]}
    found = {finding.rule: finding for finding in check(write(tmp_path, [row]))}
    assert found["checked_with"].message.startswith("checked with trl 1.")
    assert "not seen as conversations" in found["converter"].message


def test_prompt_masked_in_the_wrong_place(tmp_path, chat_tokenizer):
    """A template that renders the prompt differently before an answer is found."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chat_tokenizer)
    plain = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.chat_template = plain + "{% if add_generation_prompt %} think{% endif %}"
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "set").mkdir()
    folder = write(tmp_path / "set", [{"prompt": [USER], "completion": [GOOD]}])
    assert errors(folder, tokenizer=str(tmp_path / "tokenizer")) == {"converter": 1}


def test_lengths_are_counted_in_tokens(tmp_path, chat_tokenizer):
    """Rows beyond the limit are counted and named, at the limit they are not."""
    rows = [{"messages": [USER, {"role": "assistant", "content": "7" * n}]} for n in (5, 500)]
    found = check(write(tmp_path, rows), tokenizer=chat_tokenizer, max_length=400)
    long = next(finding for finding in found if finding.rule == "too_long")
    assert (long.severity, long.rows) == ("warning", ("r1",))
    rules = {finding.rule for finding in check(tmp_path, tokenizer=chat_tokenizer)}
    assert "too_long" not in rules  # TRL's default of 1024 tokens holds both


def test_template_without_a_chat_template(tmp_path, chat_tokenizer):
    """A tokenizer without a chat template cannot render conversations, which is an error."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chat_tokenizer)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "set").mkdir()
    folder = write(tmp_path / "set", [{"messages": [USER, GOOD]}])
    assert "no_template" in errors(folder, tokenizer=str(tmp_path / "tokenizer"))


def test_no_export_is_a_user_error(tmp_path):
    """A folder that holds no data is refused in one sentence."""
    with pytest.raises(UserError, match="holds 0 data files"):
        check(tmp_path)
