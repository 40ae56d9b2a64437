"""Emitted datasets load, and every export is understood by the trainer it is for."""

import json

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.export import emit, export
from pipeline.preflight import check
from pipeline.schema import PAIRS, SFT, STEPWISE, UNPAIRED
from pipeline.shards import read_parquet, write_parquet

CARD = {"name": "Sums", "recipe": "star", "license": "mit", "language": ["en"]}
FORMATS = [
    *[("trl", kind, "messages") for kind in ("sft", "pairs", "unpaired", "stepwise")],
    ("trl", "sft", "prompt-completion"),
    ("trl", "pairs", "implicit"),
    *[("axolotl", kind, "messages") for kind in ("sft", "pairs", "unpaired", "stepwise")],
    *[("llamafactory", kind, "messages") for kind in ("sft", "pairs", "unpaired")],
    *[("open-instruct", kind, "messages") for kind in ("sft", "pairs")],
]


def turns(*texts, system=None):
    """A conversation of alternating user and assistant turns."""
    roles = ["user", "assistant"] * len(texts)
    head = [{"role": "system", "content": system}] if system is not None else []
    return head + [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]


def sft_table(conversations):
    """An sft table with these conversations."""
    rows = [
        {"row_id": f"s{i}", "messages": m, "weight": 1.0, "parents": [], "recipe": "star"}
        for i, m in enumerate(conversations)
    ]
    return pa.Table.from_pylist(rows, SFT)


def pairs_table(triples, prefix=""):
    """A pairs table with these (question, chosen, rejected)."""
    rows = [
        {"row_id": f"p{i}", "prompt": turns(q), "prefix": prefix, "chosen": c, "rejected": r}
        for i, (q, c, r) in enumerate(triples)
    ]
    return pa.Table.from_pylist(rows, PAIRS)


def table_of(kind):
    """Two good rows of a kind."""
    if kind == "sft":
        return sft_table([turns("2+2?", "4"), turns("a", "b", "c", "d", system="Be brief.")])
    if kind == "pairs":
        return pairs_table([("2+2?", "4", "5"), ("3+3?", "6", "7")])
    if kind == "unpaired":
        rows = [("2+2?", "4", True), ("2+2?", "5", False)]
        return pa.Table.from_pylist(
            [dict(zip(UNPAIRED.names, row, strict=True)) for row in rows], UNPAIRED
        )
    rows = [("2+2?", ["add", "4"], [True, True]), ("3+3?", ["add", "7"], [True, False])]
    return pa.Table.from_pylist(
        [dict(zip(STEPWISE.names, row, strict=True)) for row in rows], STEPWISE
    )


def load(folder, cache):
    """What `datasets.load_dataset` makes of a folder."""
    from datasets import load_dataset

    return load_dataset(str(folder), split="train", cache_dir=str(cache))


def file_bytes(folder):
    """The bytes of every file of a folder."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", ["sft", "pairs", "unpaired", "stepwise"])
def test_emitted_dataset_loads_as_it_was(tmp_path, kind):
    """`load_dataset` on RUN/dataset/<kind> gives back the very rows, over several shards."""
    table = table_of(kind)
    folder = emit(tmp_path, kind, [table.slice(0, 1), table.slice(1)], card=CARD)
    names = sorted(path.name for path in (folder / "data").iterdir())
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert load(folder, tmp_path / "cache").to_list() == table.to_pylist()


def test_emitted_empty_dataset_is_valid(tmp_path):
    """A run that kept nothing leaves columns without rows (`datasets` loads no empty split)."""
    folder = emit(tmp_path, "sft", SFT.empty_table(), card=CARD)
    table = read_parquet(folder / "data" / "train-00000-of-00001.parquet")
    assert table.schema.equals(SFT)
    assert len(table) == 0
    assert "0 (sft)" in (folder / "README.md").read_text()


def test_emit_refuses_ties(tmp_path):
    """A pair with chosen equal to rejected is never published."""
    table = pairs_table([("q", "a", "b"), ("q", "a", "a")])
    with pytest.raises(UserError, match="1 of 2 pairs have chosen equal to rejected"):
        emit(tmp_path, "pairs", table, card=CARD)
    assert not (tmp_path / "dataset" / "pairs").exists()


@pytest.mark.parametrize(("to", "kind", "form"), FORMATS)
def test_export_passes_preflight_and_is_deterministic(tmp_path, chat_tokenizer, to, kind, form):
    """Each format loads by folder, has no error or warning, and has equal bytes when made twice."""
    emit(tmp_path, kind, table_of(kind), card=CARD)
    folder = export(tmp_path, to, kind, form=form)
    before = file_bytes(folder)
    assert file_bytes(export(tmp_path, to, kind, form=form)) == before
    assert len(load(folder, tmp_path / "cache")) == 2
    findings = check(folder, tokenizer=chat_tokenizer)
    assert {finding.severity for finding in findings} == {"note"}, findings


text = st.text(min_size=1, max_size=60).filter(str.strip)
odd_text = st.one_of(
    text,
    st.sampled_from(
        ["```python\nx = 1\n```", "{% raw %}{{ x }}", "2024-01-01", "{}", "\u2028\x00é"]
    ),
    st.just("long " * 5_000),
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(odd_text, odd_text, st.booleans()), min_size=1, max_size=4))
@pytest.mark.parametrize("to", ["trl", "axolotl", "llamafactory", "open-instruct"])
def test_odd_text_survives_sft_exports(tmp_path_factory, to, rows):
    """Fences, templates, dates, controls and long texts come back from the loader unchanged."""
    run = tmp_path_factory.mktemp("run")
    conversations = [turns(q, a, system="" if system else None) for q, a, system in rows]
    emit(run, "sft", sft_table(conversations), card=CARD)
    loaded = load(export(run, to), run / "cache")
    assert loaded["messages"][:] == conversations


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(question=odd_text, answers=st.lists(odd_text, min_size=2, max_size=2, unique=True))
def test_odd_text_survives_pair_exports(tmp_path_factory, question, answers):
    """What TRL splits out of implicit pairs is what the explicit ones say."""
    from trl.data_utils import extract_prompt

    run = tmp_path_factory.mktemp("run")
    emit(run, "pairs", pairs_table([(question, *answers)]), card=CARD)
    explicit = load(export(run, "trl"), run / "cache")[0]
    implicit = load(export(run, "trl", form="implicit"), run / "cache")[0]
    assert [explicit[side][0]["content"] for side in ("chosen", "rejected")] == answers
    row_id = {"row_id": explicit["row_id"]}
    assert row_id | extract_prompt(implicit) == explicit


def test_dates_do_not_become_timestamps(tmp_path):
    """A column of dates goes out as Parquet, since the loader reads it from JSON as timestamps."""
    emit(tmp_path, "sft", sft_table([turns("When?", "2024-01-01")]), card=CARD)
    folder = export(tmp_path, "llamafactory")
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info["tamis_sft"]["file_name"] == "train.parquet"
    assert load(folder, tmp_path / "cache")["messages"][0][1]["content"] == "2024-01-01"


def test_prefix_begins_both_answers(tmp_path):
    """A pair's prefix is the beginning of both answers, and the README says how many have one."""
    emit(tmp_path, "pairs", pairs_table([("q", "good", "bad")], prefix="Step 1. "), card=CARD)
    folder = export(tmp_path, "llamafactory")
    row = json.loads((folder / "train.jsonl").read_text())
    assert row["chosen"] == {"role": "assistant", "content": "Step 1. good"}
    assert row["rejected"] == {"role": "assistant", "content": "Step 1. bad"}
    assert "In 1 pairs both answers begin" in (folder / "README.md").read_text()


def test_weights_are_not_lost_in_silence(tmp_path):
    """Row weights that no trainer reads are announced in the README."""
    table = sft_table([turns("q", "a"), turns("q", "b")])
    weights = pa.array([1.0, 0.5])
    table = table.set_column(2, "weight", weights)
    emit(tmp_path, "sft", table, card=CARD)
    readme = (export(tmp_path, "trl") / "README.md").read_text()
    assert "1 rows have a weight other than 1" in readme


@pytest.mark.parametrize(
    ("to", "kind", "form", "message"),
    [
        ("trl", "pairs", "messages", r"has 1 datasets \(sft\), but 'pairs' was asked for"),
        ("verl", "sft", "messages", "verl is not one of trl, axolotl"),
        ("open-instruct", "sft", "implicit", "no format for sft as implicit; it takes sft as mess"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path, to, kind, form, message):
    """Another kind, trainer or form than there is gives one sentence that names what there is."""
    emit(tmp_path, "sft", table_of("sft"), card=CARD)
    with pytest.raises(UserError, match=message):
        export(tmp_path, to, kind, form=form)


@pytest.mark.parametrize(
    ("to", "conversations", "message"),
    [
        ("trl", [], "has 0 rows; there is nothing to export"),
        (
            "trl",
            [turns("q", "a"), turns("q", " ")],
            "1 of 2 rows: they have an assistant turn with",
        ),
        ("axolotl", [turns("q")], "1 of 1 rows: they do not end with an assistant turn"),
        ("trl", [turns("q", "a")[1:]], "1 of 1 rows: they have no turn before the answer"),
        ("llamafactory", [turns("q") + turns("q", "a")], "1 of 1 rows: they do not alternate"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, to, conversations, message):
    """Rows that a trainer would drop or choke on are refused with counts and a remedy."""
    emit(tmp_path, "sft", sft_table(conversations), card=CARD)
    with pytest.raises(UserError, match=message):
        export(tmp_path, to)
    assert not (tmp_path / "export").exists()


def test_out_never_replaces_foreign_files(tmp_path):
    """--out refuses a folder that holds something else, and replaces an export of ours."""
    emit(tmp_path, "sft", table_of("sft"), card=CARD)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UserError, match="is not an export of ours"):
        export(tmp_path, "trl", out=tmp_path / "mine")
    again = [export(tmp_path, "trl", out=tmp_path / "new") for _ in range(2)]
    assert again == [tmp_path / "new"] * 2


def test_axolotl_config_names_the_data(tmp_path):
    """axolotl.yaml says method, template and file so that only the model is to be named."""
    emit(tmp_path, "pairs", table_of("pairs"), card=CARD)
    config = yaml.safe_load((export(tmp_path, "axolotl") / "axolotl.yaml").read_text())
    assert (config["rl"], config["chat_template"]) == ("dpo", "tokenizer_default")
    assert config["datasets"][0]["path"] == "train.jsonl"
    assert config["datasets"][0]["type"] == "chat_template.default"


def test_parquet_bytes_ignore_chunks_and_metadata(tmp_path):
    """Equal tables give equal files, however they were chunked and whatever they were called."""
    table = table_of("sft")
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    write_parquet(tmp_path / "a", table)
    write_parquet(tmp_path / "b", chunked.replace_schema_metadata({"pandas": "x"}))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
