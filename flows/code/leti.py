"""LeTI: train on programs together with what the interpreter said of them."""

TASK = '"""\n{{ prompt }}\n{{ tests[0] }}\n"""\n'
GOOD = "<|good|>"
