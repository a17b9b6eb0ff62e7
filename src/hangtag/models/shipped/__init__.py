"""The model that is included in hangtag, written by `hangtag export`; README.md in this folder is its model card."""

from pathlib import Path

SHIPPED = Path(__file__).parent
