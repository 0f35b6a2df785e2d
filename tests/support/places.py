"""Where the checkout and its samples are."""

from pathlib import Path

__all__ = ["REPOSITORY", "SAMPLES"]

REPOSITORY = Path(__file__).parents[2]
SAMPLES = REPOSITORY / "tests/samples"
