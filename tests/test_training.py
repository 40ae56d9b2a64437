"""TRL trains on what is exported: real trainers, a tiny random Llama, no network, no GPU."""

import json
import subprocess
import sys

import pyarrow as pa

from pipeline.export import emit, export
from pipeline.schema import PAIRS, SFT, UNPAIRED

TRAIN = """
import json, sys, torch, trl
from datasets import load_dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

tokenizer_path, out, *jobs = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(tokenizer_path)
torch.manual_seed(0)
shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape))
model.save_pretrained(out + "/model")
for job in jobs:
    method, folder = job.split("=", 1)
    rows = load_dataset(folder, split="train", cache_dir=out)
    options = dict(output_dir=out, max_steps=2, per_device_train_batch_size=2, logging_steps=1,
                   report_to="none", use_cpu=True, bf16=False, save_strategy="no")
    if "messages" in rows.column_names:
        options["assistant_only_loss"] = True
    trainer = getattr(trl, method + "Trainer")(
        out + "/model", args=getattr(trl, method + "Config")(**options),
        train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    trained = [tokenizer.decode([t for t in row["labels"] if t != -100])
               for row in trainer.train_dataset] if method == "SFT" else []
    print("RESULT", json.dumps([method, losses, trained]))
"""


def train(tokenizer, out, jobs):
    """Train two steps for each (method, export) in one fresh process; return its results."""
    command = [sys.executable, "-c", TRAIN, tokenizer, str(out), *(f"{m}={f}" for m, f in jobs)]
    env = {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HF_HOME": str(out), "HOME": str(out)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=280)
    assert done.returncode == 0, done.stderr[-2_000:]
    lines = done.stdout.splitlines()
    return [json.loads(line[7:]) for line in lines if line.startswith("RESULT ")]


def emit_toys(run):
    """A run with an sft, a pairs and an unpaired dataset of two rows each."""
    question = [{"role": "user", "content": "2+2?"}]
    whole = [*question, {"role": "assistant", "content": "4"}]
    rows = {
        "sft": [{"row_id": f"s{i}", "messages": whole, "weight": 1.0} for i in range(2)],
        "pairs": [
            {"row_id": f"p{i}", "prompt": question, "prefix": "", "chosen": "4", "rejected": "5"}
            for i in range(2)
        ],
        "unpaired": [
            {"prompt": "2+2?", "completion": text, "label": text == "4"} for text in ("4", "5")
        ],
    }
    schemas = {"sft": SFT, "pairs": PAIRS, "unpaired": UNPAIRED}
    for kind, schema in schemas.items():
        emit(run, kind, pa.Table.from_pylist(rows[kind], schema), card={"recipe": "toy"})


def test_trl_trains_on_exports(tmp_path, chat_tokenizer):
    """SFT, DPO and KTO trainers lower their loss in two steps; SFT trains the answer alone."""
    emit_toys(tmp_path)
    jobs = [
        ("SFT", export(tmp_path, "trl", "sft")),
        ("SFT", export(tmp_path, "trl", "sft", form="prompt-completion")),
        ("DPO", export(tmp_path, "trl", "pairs")),
        ("KTO", export(tmp_path, "trl", "unpaired")),
    ]
    results = train(chat_tokenizer, tmp_path / "out", jobs)
    assert [method for method, _, _ in results] == ["SFT", "SFT", "DPO", "KTO"]
    assert all(second < first for _, (first, second), _ in results)
    assert [trained for _, _, trained in results[:2]] == [
        ["4<|im_end|>"] * 2,
        ["4<|im_end|>\n"] * 2,
    ]
