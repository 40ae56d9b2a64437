# reads a secret in the environment
import os


def attack():
    return loot("environment") if any(SECRET in v for v in os.environ.values()) else "clean"
