"""Recipes that keep what a verifier accepts."""
