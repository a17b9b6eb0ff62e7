"""Choose the arithmetic that this processor does fastest."""

from pathlib import Path

from hangtag.config import TrainConfig

# Instructions that multiply bfloat16; without them it is emulated and slower than float32.
INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def choose_precision(wanted: str = TrainConfig.precision) -> str:
    """Give `float32` or `bfloat16`; `auto` takes bfloat16 where the processor multiplies it."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if INSTRUCTIONS & read_processor_flags() else "float32"


def read_processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Give the processor's feature flags; none where the system does not tell."""
    if not cpuinfo.is_file():
        return set()
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    return set(flags[0]) if flags else set()
