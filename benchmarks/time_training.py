"""Time `prepare` and one epoch of the capstone network, in float32 and in bfloat16, one after the other.

Usage: python benchmarks/time_training.py CATALOG [--sample N]

The report's own speed, 29 photographs a second on a hosted notebook, stands beside the result. Run it on a
machine that does nothing else.
"""

import argparse
import platform
import tempfile
from pathlib import Path

from hangtag.config import CleanConfig
from hangtag.presets import PRESETS
from hangtag.settings import resolve
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig

CAPSTONE_IMAGES_PER_SECOND = 29


def main() -> None:
    """Time the stages and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--sample", type=int, default=0, help="items to train on; 0 takes all")
    arguments = parser.parse_args()
    print(f"{_name_processor()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(arguments.catalog, folder)
        speed = prepared.metrics["items"] / prepared.seconds
        print(f"prepare: {prepared.metrics['items']:,} photographs in {prepared.seconds:.1f} s, {speed:,.0f} a second")
        cleaned = clean(folder, resolve(CleanConfig, PRESETS["capstone"], {"sample": arguments.sample}))
        print(f"clean: {cleaned.seconds:.1f} s")
        for precision in ("float32", "bfloat16"):
            config = resolve(TrainConfig, PRESETS["capstone"], {"epochs": 1, "precision": precision})
            result = train(folder, config, run_id=precision)
            speed = result.metrics["images_per_second"]
            print(
                f"train, {precision}: {speed:,.0f} photographs a second, "
                f"{speed / CAPSTONE_IMAGES_PER_SECOND:.1f} times the report's {CAPSTONE_IMAGES_PER_SECOND}"
            )


def _name_processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
