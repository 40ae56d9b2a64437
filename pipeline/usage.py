"""What stands beside exported data: a README that says how to train, and the trainers' own configs.

Everything here is text for one (trainer, kind, form); `pipeline.export` writes it. Read against
TRL 1.16.0, Axolotl 0.21.0, LLaMA-Factory 0.9.5 and open-instruct of 2026-08-20.
"""

import json
from typing import Any, NamedTuple

import yaml

# The format name that `datasets` (and so every trainer) gives to a data file, by its suffix.
READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


class Export(NamedTuple):
    """What one export folder holds; `export.json` is this as JSON."""

    to: str
    kind: str
    form: str
    file: str  # the data file's name
    rows: int
    facts: dict[str, int]  # counts a user must know of: desirable, undesirable, prefixed, weighted


def write_usage(export: Export) -> dict[str, str]:
    """Return the files (name -> text) that an export folder needs beside its data."""
    files = {"README.md": _readme(export)}
    if export.to == "llamafactory":
        files["dataset_info.json"] = json.dumps(_dataset_info(export), indent=2) + "\n"
    if export.to == "axolotl":
        files["axolotl.yaml"] = yaml.safe_dump(_axolotl(export), sort_keys=False)
    return files


def _readme(export: Export) -> str:
    # The front matter makes `load_dataset(folder)` read the data file and nothing else.
    front = {"configs": [{"config_name": "default", "data_files": export.file}]}
    shape, train = _TRL_SHAPES.get((export.kind, export.form), ""), _train(export)
    notes = "".join(
        f"\n{note}\n" for note in [shape if export.to == "trl" else "", *_notes(export)]
    )
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n"
        f"# {export.rows} {export.kind} rows for {export.to}\n\n"
        f"Data: `{export.file}`; `row_id` leads each row back to its run (`tamis trace`).\n"
        f"{notes}\n## Train\n\n{train}\n"
        "Check first what the trainer would drop or cut: `tamis check .`\n"
    )


_TRL_SHAPES = {
    ("sft", "messages"): "The loss is on the whole conversation unless `assistant_only_loss=True`.",
    ("sft", "prompt-completion"): "The loss is on the completion only (TRL's default here).",
    ("pairs", "messages"): "`chosen` and `rejected` hold the answer turn, `prompt` what precedes.",
    (
        "pairs",
        "implicit",
    ): "`chosen` and `rejected` are whole conversations (reward models).",
    ("stepwise", "messages"): "TRL's stepwise columns. TRL 1.16.0 itself ships no trainer for them;"
    " Axolotl's process reward model and older TRL releases read them.",
}


def _notes(export: Export) -> list[str]:
    facts, notes = export.facts, []
    if facts.get("prefixed"):
        notes.append(
            f"In {facts['prefixed']} pairs both answers begin with the same prefix. It cancels in"
            " the loss of DPO; it does not in losses that average over tokens (SimPO, ORPO, IPO)."
        )
    if facts.get("weighted"):
        notes.append(
            f"{facts['weighted']} rows have a weight other than 1. {export.to} has no place for row"
            " weights and trains all rows alike; the weights are in the run's own dataset."
        )
    if export.kind == "unpaired":
        good, bad = facts["desirable"], facts["undesirable"]
        notes.append(
            f"{good} desirable and {bad} undesirable rows. KTO wants desirable_weight x {good} to"
            f" be 1 to 4/3 of undesirable_weight x {bad}."
        )
    if export.kind == "unpaired" and export.to == "axolotl":
        notes.append(
            "Axolotl renders KTO rows without the tokenizer's chat template; `prompt_format` and"
            " `completion_format` in axolotl.yaml are ChatML: edit them for another model."
        )
    return notes


def _train(export: Export) -> str:
    if export.to == "axolotl":
        return _fence("axolotl train axolotl.yaml --base-model MODEL")
    if export.to == "llamafactory":
        return _fence(_LLAMAFACTORY[export.kind])
    if export.to == "open-instruct":
        return _fence(_OPEN_INSTRUCT[export.kind].format(file=export.file))
    return _fence(_TRL[export.kind, export.form]) if export.kind != "stepwise" else ""


def _fence(command: str) -> str:
    return f"In this folder:\n\n```bash\n{command}\n```\n"


# load_dataset(".") fails for want of a name, hence $PWD.
_TRL = {
    (kind, form): f'trl {method} --model_name_or_path MODEL --dataset_name "$PWD" --output_dir out'
    for kind, form, method in (
        ("sft", "messages", "sft --assistant_only_loss true"),
        ("sft", "prompt-completion", "sft"),
        ("pairs", "messages", "dpo"),
        ("pairs", "implicit", "reward"),
        ("unpaired", "messages", "kto"),
    )
}

_LLAMAFACTORY = {
    kind: f"llamafactory-cli train --stage {stage} --do_train true --model_name_or_path MODEL"
    f" --template TEMPLATE --finetuning_type lora --dataset_dir . --dataset tamis_{kind}"
    " --output_dir out"
    for kind, stage in (("sft", "sft"), ("pairs", "dpo"), ("unpaired", "kto"))
}

_OPEN_INSTRUCT = {
    "sft": "python open_instruct/finetune.py --model_name_or_path MODEL"
    ' --dataset_mixer_list "$PWD/{file}" 1.0 --output_dir out',
    "pairs": "python open_instruct/dpo_tune_cache.py --model_name_or_path MODEL"
    ' --mixer_list "$PWD/{file}" 1.0 --output_dir out',
}


def _dataset_info(export: Export) -> dict[str, Any]:
    # "sharegpt" with OpenAI's role names, since "openai" makes "detailed thinking off" a part of
    # every system prompt. Tags left out become None, so all are named.
    columns = {"messages": "messages"}
    entry: dict[str, Any] = {"file_name": export.file, "formatting": "sharegpt"}
    if export.kind == "pairs":
        entry["ranking"] = True
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    if export.kind == "unpaired":
        columns["kto_tag"] = "label"
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    tags |= {"assistant_tag": "assistant", "system_tag": "system"}
    tags |= {"observation_tag": "tool", "function_tag": "function_call"}
    return {f"tamis_{export.kind}": entry | {"columns": columns, "tags": tags}}


def _axolotl(export: Export) -> dict[str, Any]:
    path = {"path": export.file, "ds_type": READERS["." + export.file.rpartition(".")[2]]}
    dataset: dict[str, Any] = path | {"split": "train"} | _AXOLOTL_TYPES[export.kind]
    method = _AXOLOTL_METHODS[export.kind]
    template = {} if export.kind in ("unpaired", "stepwise") else {"chat_template": _TEMPLATE}
    # Longer rows are dropped without an error, so the length is said here rather than implied.
    schedule: dict[str, Any] = {"sequence_len": 2048, "micro_batch_size": 1}
    schedule |= {"gradient_accumulation_steps": 8, "num_epochs": 1, "learning_rate": 1e-5}
    schedule |= {"optimizer": "adamw_torch", "output_dir": "./out"}
    return method | template | {"datasets": [dataset]} | schedule


_TEMPLATE = "tokenizer_default"
_AXOLOTL_METHODS: dict[str, dict[str, Any]] = {
    "sft": {},
    "pairs": {"rl": "dpo"},
    "unpaired": {"rl": "kto", "remove_unused_columns": False},  # Axolotl insists on the latter
    "stepwise": {"process_reward_model": True, "num_labels": 2}
    | {"model_type": "AutoModelForTokenClassification"},
}
_PROPERTIES = {"message_property_mappings": {"role": "role", "content": "content"}}
_AXOLOTL_TYPES: dict[str, dict[str, Any]] = {
    "sft": {"type": "chat_template", "field_messages": "messages", **_PROPERTIES}
    | {"roles_to_train": ["assistant"], "train_on_eos": "turn"},
    "pairs": {"type": "chat_template.default", "field_messages": "prompt"}
    | {"field_chosen": "chosen", "field_rejected": "rejected", **_PROPERTIES},
    "unpaired": {
        "type": {
            "field_prompt": "prompt",
            "field_completion": "completion",
            "field_label": "label",
            "prompt_format": "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
            "completion_format": "{completion}<|im_end|>",
        }
    },
    "stepwise": {"type": "stepwise_supervised"},
}
