"""Verified code data: programs and tests of a model, executed, filtered, paired."""
