"""The model that hangtag comes with, as `hangtag export` wrote it; its card is the README.md beside this file."""

from pathlib import Path

SHIPPED = Path(__file__).parent
