"""Time how soon the preset `quick` passes the best validation accuracy of the whole capstone training.

Usage: python benchmarks/time_to_accuracy.py CATALOG [--workspace W]

Both trainings run one after the other on the same labels, in the arithmetic that is fastest here, with nothing
else to do for the machine. The capstone's time is that of all its epochs, their validation included; the other's
is up to the end of the first epoch that passes it, validation included.
"""

import argparse
import platform
import tempfile
from pathlib import Path

import polars as pl

from hangtag.config import CleanConfig
from hangtag.presets import PRESETS
from hangtag.settings import resolve
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig


def main() -> None:
    """Train both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--workspace", type=Path, help="where to; a temporary folder by default")
    parser.add_argument("--sample", type=int, default=0, help="items to train on; 0 takes all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.workspace or Path(folder)
        prepare(arguments.catalog, place)
        clean(place, resolve(CleanConfig, PRESETS["capstone"], {"sample": arguments.sample}))
        histories = {name: _train(place, name) for name in ("capstone", "quick")}
    capstone, quick = histories["capstone"], histories["quick"]
    wanted, whole = float(capstone["val_accuracy"].to_numpy().max()), float(capstone["seconds"].sum())
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(f"capstone: {wanted:.4f} at best, {whole:.0f} s for its {len(capstone)} epochs")
    # Epochs on small photographs are evaluated on small ones: they are passed over.
    is_whole = pl.col("image_size") == pl.col("image_size").last()
    passed = quick.with_columns(total=pl.col("seconds").cum_sum()).filter(is_whole, pl.col("val_accuracy") > wanted)
    if passed.is_empty():
        best = float(quick["val_accuracy"].to_numpy().max())
        print(f"quick: {best:.4f} at best, {quick['seconds'].sum():.0f} s; it does not pass the capstone")
        return
    first = passed.row(0, named=True)
    print(f"quick: {first['val_accuracy']:.4f} after epoch {first['epoch']}, {first['total']:.0f} s")
    print(f"{whole / first['total']:.1f} times as fast")


def _train(place: Path, preset: str) -> pl.DataFrame:
    result = train(place, resolve(TrainConfig, PRESETS[preset]), run_id=f"{preset}-timed")
    return pl.read_csv(result.folder / "history.csv")


if __name__ == "__main__":
    main()
