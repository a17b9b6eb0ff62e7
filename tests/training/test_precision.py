"""Test the choice of the floating-point precision."""

from pathlib import Path

import pytest

from hangtag.training.losses import choose_precision, read_processor_flags


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [({"avx512_bf16", "sse"}, "bfloat16"), ({"amx_bf16"}, "bfloat16"), ({"avx512f"}, "float32"), (set(), "float32")],
)
def test_auto_precision_depends_on_the_processor(flags: set[str], wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangtag.training.losses.read_processor_flags", lambda: flags)
    assert choose_precision("auto") == wanted
    assert choose_precision("float32") == "float32"
    assert choose_precision("bfloat16") == "bfloat16"


def test_flags_are_read_from_the_list_of_processors(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: flags of old\nflags\t\t: fpu avx512_bf16\n\nflags\t\t: fpu\n")
    assert read_processor_flags(path) == {"fpu", "avx512_bf16"}


def test_a_system_without_that_list_has_no_flags(tmp_path: Path) -> None:
    assert read_processor_flags(tmp_path / "cpuinfo") == set()
