"""Give every label a file name of its own."""

import hashlib
import re
import unicodedata

PLAIN = re.compile(r"[A-Za-z0-9-]+( [A-Za-z0-9-]+)*")
MAX_LENGTH = 80


def slug(label: str) -> str:
    """Give a file-name-safe text for a label: letters, digits, `-` and `_` only, never empty.

    Spaces become `_`, so `Flip Flops` gives `Flip_Flops`. A label with other characters loses them and
    gets six digits of its hash instead, so that two labels never share a file.
    """
    if PLAIN.fullmatch(label) and len(label) <= MAX_LENGTH:
        return label.replace(" ", "_")
    ascii_text = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9-]+", "_", ascii_text).strip("_-")[:MAX_LENGTH]
    digits = hashlib.sha256(label.encode()).hexdigest()[:6]
    return f"{kept}_{digits}" if kept else digits
