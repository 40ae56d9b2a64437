"""The trainers' own converters, asked row by row what they would make of an export.

A trainer that is not installed (they pin what conflicts with each other and with vLLM) is not
asked, and the answer says so. Read against TRL 1.16.0, LLaMA-Factory 0.9.5, Axolotl 0.21.0.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Takes a row; returns "" or the rest of a sentence that begins with "N rows".
Judge = Callable[[Mapping[str, Any]], str]

_DROPPED = "are dropped by its converter with no error; export them anew"


def open_converter(
    to: str, kind: str, folder: Path, entry: Mapping[str, Any], tokenizer: Any
) -> tuple[str, Judge | None]:
    """Return a sentence that says what the rows are checked with, and the judge if there is one.

    `entry` is the entry of dataset_info.json or the Axolotl config. `tokenizer` may be None: then
    only shapes are judged, and what needs rendering is not.
    """
    open_judge = _OPENERS.get(to)
    try:
        found = version(to)
        judge = open_judge(kind, folder, entry, tokenizer) if open_judge is not None else None
    except PackageNotFoundError:
        return f"{to} is not installed: checked with rules only", None
    except Exception as error:  # a foreign package that is installed but broken raises anything
        return f"{to} cannot be imported ({error!r:.120}): checked with rules only", None
    if judge is None:
        return f"{to} {found} has no converter for {kind} rows: checked with rules only", None
    return f"checked with {to} {found}", judge


def _open_trl(kind: str, folder: Path, entry: Mapping[str, Any], tokenizer: Any) -> Judge | None:
    from trl.data_utils import is_conversational, maybe_apply_chat_template, maybe_extract_prompt

    if kind == "stepwise":
        return None

    def judge(row: Mapping[str, Any]) -> str:
        turns = {key: row[key] for key in _TRL_TURNS if key in row}
        if not turns or not all(is_conversational({key: turns[key]}) for key in turns):
            return "are not seen as conversations by TRL, which looks at the first row for all"
        example = maybe_extract_prompt(dict(turns))
        if kind == "pairs" and not all(example[key] for key in ("prompt", "chosen", "rejected")):
            return "leave no prompt or no answer when TRL splits chosen from rejected; drop them"
        if tokenizer is None:
            return ""
        maybe_apply_chat_template(example, tokenizer)
        return _judge_mask(example, tokenizer)

    return judge


_TRL_TURNS = ("messages", "prompt", "completion", "chosen", "rejected")


def _judge_mask(example: Mapping[str, Any], tokenizer: Any) -> str:
    """Say if the tokens of the prompt are not those that begin prompt + answer (as TRL masks)."""
    from trl.data_utils import common_prefix_length

    for key in ("completion", "chosen", "rejected"):
        if key not in example:
            continue
        prompt, whole = (
            tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
            for messages, options in (
                (example["prompt"], {"add_generation_prompt": True}),
                (example["prompt"] + example[key], {}),
            )
        )
        if common_prefix_length(prompt, whole) < len(prompt):
            return (
                "are masked in the wrong place: the template renders the prompt differently when"
                " an answer follows; use a template that does not"
            )
    return ""


def _open_llamafactory(
    kind: str, folder: Path, entry: Mapping[str, Any], tokenizer: Any
) -> Judge | None:
    import json

    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list

    name = next(iter(json.loads((folder / "dataset_info.json").read_text())))
    attributes = get_dataset_list([name], str(folder))[0]
    settings = SimpleNamespace(media_dir=str(folder))
    convert = get_dataset_converter(attributes.formatting, attributes, settings)

    def judge(row: Mapping[str, Any]) -> str:
        made = convert(dict(row))
        answers = 1 if kind == "sft" else 2
        if len(made["_prompt"]) % 2 != 1 or len(made["_response"]) != answers:
            return _DROPPED
        # Its KTO processor takes the label from which of the two answers has text.
        if kind == "unpaired" and bool(made["_response"][0]["content"]) != row[attributes.kto_tag]:
            return "have their label turned round by its converter; drop rows without an answer"
        first = (row.get(attributes.messages) or [{}])[0]
        own = first.get("content") if first.get("role") == "system" else ""
        if not attributes.system and (made["_system"] or "") != own:
            return "get another system prompt than their own; use formatting 'sharegpt'"
        return ""

    return judge


def _open_axolotl(
    kind: str, folder: Path, entry: Mapping[str, Any], tokenizer: Any
) -> Judge | None:
    from axolotl.utils.dict import DictDefault

    config = DictDefault(entry)
    if kind == "unpaired":
        from axolotl.prompt_strategies.kto.user_defined import default as load_kto

        render = load_kto(config)
        return lambda row: _judge_texts([render(dict(row))["completion"]], [row["completion"]])
    if tokenizer is None:
        return None
    if kind == "pairs":
        return _judge_axolotl_pairs(config, tokenizer)
    return _judge_axolotl_tokens(kind, config, tokenizer)


def _judge_axolotl_pairs(config: Any, tokenizer: Any) -> Judge:
    from axolotl.prompt_strategies.dpo.chat_template import default as load_dpo

    render, _ = load_dpo(config)

    def judge(row: Mapping[str, Any]) -> str:
        made = render(dict(row), tokenizer=tokenizer)
        sides = ("chosen", "rejected")
        if any(isinstance(row[side], list) and len(row[side]) > 1 for side in sides):
            return "have answers of several turns, of which it takes the last only; split them"
        return _judge_texts([made[side] for side in sides], [_last(row[side]) for side in sides])

    return judge


def _judge_axolotl_tokens(kind: str, config: Any, tokenizer: Any) -> Judge:
    from axolotl.prompt_strategies import chat_template, stepwise_supervised

    module = stepwise_supervised if kind == "stepwise" else chat_template
    strategy = module.load(tokenizer, config, config.datasets[0])

    def judge(row: Mapping[str, Any]) -> str:
        labels = strategy.tokenize_prompt(dict(row))["labels"]
        if kind == "stepwise":
            short = sum(label != -100 for label in labels) < len(row["labels"])
            return "lose steps behind sequence_len; raise it" if short else ""
        trained = tokenizer.decode([label for label in labels if label != -100])
        answers = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        return _judge_texts([trained] * len(answers), answers)

    return judge


def _last(answer: Any) -> str:
    last = answer[-1] if isinstance(answer, list) else answer
    return str(last["content"] if isinstance(last, dict) else last)


def _judge_texts(rendered: list[str], answers: list[str]) -> str:
    whole = all(answer.strip() in text for text, answer in zip(rendered, answers, strict=True))
    return "" if whole else "lose a part of their answer in its template; use another template"


_OPENERS: dict[str, Callable[..., Judge | None]] = {
    "trl": _open_trl,
    "llamafactory": _open_llamafactory,
    "axolotl": _open_axolotl,
}
