"""The dataset and its card, the trainers' formats, and the check with their own code."""
