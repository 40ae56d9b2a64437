"""DART-Math: difficulty-aware rejection tuning. For now only the prompt that its rollouts send."""

SOLVE = (
    "{{ prompt }}\n\nWork through it one step at a time. End with the final answer in \\boxed{}."
)
