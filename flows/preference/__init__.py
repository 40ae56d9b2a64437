"""Recipes that emit chosen and rejected, or good and bad."""
