"""Recipes that write new prompts and data."""
