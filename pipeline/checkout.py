"""Where this checkout lies: Tamis is a repository that one clones and runs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NANO = ROOT / "data" / "nano"  # the built-in model
