"""What a training example must be: the rules that export and preflight share.

Every trainer's row is read back to the same form, one conversation (sft, unpaired) or two (pairs),
so that a rule is written once. Rules look at shapes and text only; they load no tokenizer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

ROLES = frozenset({"system", "user", "assistant", "tool"})

# What a fault means and what to do about it, in the words of a finding.
REMEDIES: dict[str, str] = {
    "not_messages": "are not lists of {role, content} messages with text in both; export them anew",
    "unknown_role": "use a role other than system, user, assistant or tool; rename it",
    "no_prompt": "have no turn before the answer; put the prompt into a user turn",
    "no_answer": "do not end with an assistant turn, so nothing is trained; add the answer",
    "empty_answer": "have an assistant turn without text; drop them or keep the completion",
    "not_alternating": "do not alternate user and assistant after one system turn at most"
    " (LLaMA-Factory skips such rows, some chat templates raise); merge neighbours of one role",
    "chosen_equals_rejected": "have the same chosen and rejected; drop them, they teach nothing",
    "prompts_differ": "have different prompts in chosen and rejected; use one prompt a pair",
    "label_not_bool": "have a label that is not true or false; write JSON booleans",
    "no_steps": "have no steps or an empty one; drop them",
    "labels_differ": "have another number of labels than of completions; give one label a step",
}


class Example(NamedTuple):
    """One row in the common form."""

    row_id: str
    conversations: Sequence[Any]  # one, or chosen and rejected; each a list of {role, content}
    label: Any = None  # unpaired only


def find_faults(example: Example, *, kind: str, alternating: bool) -> list[str]:
    """Name what is wrong with one example, as keys of `REMEDIES`, worst first.

    `alternating` asks for strict turns (user, assistant, user, ...; tool counts as user) as
    LLaMA-Factory's converter does. Malformed values are faults, never exceptions.
    """
    if not all(_are_messages(messages) for messages in example.conversations):
        return ["not_messages"]
    faults = [
        fault
        for messages in example.conversations
        for fault in _conversation_faults(messages, alternating)
    ]
    if kind == "pairs":
        faults += _pair_faults(*example.conversations)
    if kind == "unpaired" and not isinstance(example.label, bool):
        faults.append("label_not_bool")
    return list(dict.fromkeys(faults))


def find_step_faults(prompt: Any, completions: Any, labels: Any) -> list[str]:
    """Name what is wrong with one stepwise row, as keys of `REMEDIES`."""
    if not isinstance(prompt, str) or not isinstance(completions, list):
        return ["not_messages"]
    if not completions or not all(isinstance(s, str) and s.strip() for s in completions):
        return ["no_steps"]
    if not isinstance(labels, list) or len(labels) != len(completions):
        return ["labels_differ"]
    return [] if all(isinstance(label, bool) for label in labels) else ["label_not_bool"]


def _are_messages(messages: Any) -> bool:
    return isinstance(messages, list) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in messages
    )


def _conversation_faults(messages: list[dict[str, str]], alternating: bool) -> list[str]:
    roles = [message["role"] for message in messages]
    faults = []
    if not set(roles) <= ROLES:
        faults.append("unknown_role")
    if roles[-1:] != ["assistant"]:
        faults.append("no_answer")
    if len(roles) < 2:
        faults.append("no_prompt")
    if any(m["role"] == "assistant" and not m["content"].strip() for m in messages):
        faults.append("empty_answer")
    if alternating and not _alternate(roles):
        faults.append("not_alternating")
    return faults


def _alternate(roles: list[str]) -> bool:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    expected = (("user", "tool"), ("assistant",))
    return len(turns) % 2 == 0 and all(role in expected[i % 2] for i, role in enumerate(turns))


def _pair_faults(chosen: list[Any], rejected: list[Any]) -> list[str]:
    if chosen == rejected:
        return ["chosen_equals_rejected"]
    return [] if chosen[:-1] == rejected[:-1] else ["prompts_differ"]
