"""Measure what larger photographs bring and cost: the same items, splits and network at several sizes.

Usage: python benchmarks/resolution_curve.py CATALOG --workspace W [--small ARCHIVE]

CATALOG has photographs of the largest size or more, by default stretched to each: those of 224 x 224 that were squeezed
get their proportions back. Each size is a workspace of its own in W, with the splits of the first. What is finished is
not done again, and a training that was stopped goes on from its last epoch. Writes `results.json`, `results.csv` (a
line a run, split and column) and `curve.png` to W. With --small, the first size is held against an archive that has
the same items at that size.
"""

import argparse
import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.catalog.images import Fit
from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import CleanConfig, EvaluateConfig, PrepareConfig
from hangtag.figures.style import INK, SERIES, SOFT_INK, save_figure
from hangtag.inference.classifier import Classifier
from hangtag.io import read_json, write_csv, write_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.models.checkpoint import describe_model
from hangtag.presets import PRESETS
from hangtag.settings import parse_image_size, resolve
from hangtag.stages.clean import clean
from hangtag.stages.evaluate import evaluate
from hangtag.stages.prepare import prepare
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

SIZES = "80x60,120x90,160x120,224x168"
SPLITS = ("val", "test")
# The shift of the recipe is five pixels of 80.
SHIFT = 5 / 80
TIMED, REPEATS = 256, 3
LABELS = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "seconds": "Training, s", "ms": "Prediction, ms an image"}


def main() -> None:
    """Train what is missing, and write the tables and the curve."""
    arguments = read_arguments()
    root, sizes = Workspace.at(arguments.workspace).root, arguments.sizes.split(",")
    rows: list[dict[str, Any]] = []
    items = {}
    for size in sizes:
        place = prepare_size(arguments.catalog, root, size, sizes[0], arguments.fit)
        items[size] = read_labeled_items(place).table["split"].drop_nulls().value_counts(sort=True).to_dicts()
        for seed in map(int, arguments.seeds.split(",")):
            rows += measure(place, size, configure(arguments, size, seed))
            # After every run: a stop loses nothing.
            table = pl.DataFrame(rows)
            write_csv(root / "results.csv", table)
            save_figure(plot_curve(table), root / "curve.png")
    results: dict[str, Any] = {
        "settings": dataclasses.asdict(configure(arguments, sizes[0], 0)),
        "items": items,
        "summary": summarize(table).to_dicts(),
        "runs": rows,
    }
    if arguments.small:
        results["against_the_small_archive"] = compare_archives(root, sizes[0], arguments.small)
    write_json(root / "results.json", results)
    print(summarize(table))


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--sizes", default=SIZES, help="HEIGHTxWIDTH between commas")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--fit", default="stretch", choices=["pad", "stretch"], help="see `hangtag prepare`")
    parser.add_argument("--preset", default="scratch", choices=list(PRESETS))
    parser.add_argument("--architecture", default="residual-tiny")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--small", type=Path, help="an archive with the same items at the first size")
    return parser.parse_args()


def prepare_size(catalog: Path, root: Path, size: str, first: str, fit: Fit = "pad") -> Workspace:
    """Return a workspace of one size, cleaned, with the splits of the first one."""
    place = Workspace.at(root / size)
    prepare(catalog, place, PrepareConfig(image_size=parse_image_size(size), fit=fit))
    clean(place, CleanConfig(splits_from="" if size == first else str(root / first)))
    return place


def configure(arguments: argparse.Namespace, size: str, seed: int) -> TrainConfig:
    """Return the settings of one training; photographs are shifted by the same share of their height."""
    own = {
        "architecture": arguments.architecture,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "shift": round(SHIFT * parse_image_size(size)[0]),
        "seed": seed,
    }
    return resolve(TrainConfig, PRESETS[arguments.preset], own)


def measure(place: Workspace, size: str, config: TrainConfig) -> list[dict[str, Any]]:
    """Train, evaluate and time one network; a line for each split and for the label and the finest level."""
    run_id = f"{config.architecture}-{config.epochs}-{config.seed}"
    folder = place.run(run_id)
    is_begun = (folder / "checkpoint").is_dir() and any((folder / "checkpoint").iterdir())
    train(place, config, run_id=run_id, resume=is_begun)
    evaluate(place, EvaluateConfig(splits=SPLITS), run_ids=[run_id])
    costs = {
        "seconds": float(pl.read_csv(folder / "history.csv")["seconds"].sum()),
        "ms": time_prediction(place, run_id),
    }
    levels = read_json(place.evaluation(run_id) / "report.json")["levels"]
    finest = read_labeled_items(place).schema.levels[-1]
    height, width = parse_image_size(size)
    told = {"size": size, "pixels": height * width, "seed": config.seed}
    rows = []
    for split in SPLITS:
        for column, prefix in (("label", ""), (finest, "frequent_")):
            figures = {key: levels[split][column][f"{prefix}{key}"] for key in ("accuracy", "macro_f1")}
            rows.append({**told, "split": split, "column": column, **figures, **costs})
    return rows


def time_prediction(place: Workspace, run_id: str) -> float:
    """Return the milliseconds that a photograph takes, mirror averaging included, measured once and kept on disk."""
    path = place.run(run_id) / "prediction_time.json"
    if not path.is_file():
        classifier, labelled = Classifier.load(place.run(run_id)), read_labeled_items(place)
        rows = labelled.of_split("val")["image_index"].to_numpy().astype(np.int64)[:TIMED]
        classifier.predict_rows(labelled.images, rows)
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            classifier.predict_rows(labelled.images, rows)
            times.append(time.perf_counter() - started)
        write_json(path, {"ms": 1000 * statistics.median(times) / len(rows), **_describe(classifier)})
    return float(read_json(path)["ms"])


def _describe(classifier: Classifier) -> dict[str, Any]:
    described = describe_model(classifier.model)
    return {"parameters": described["parameters"]["total"], "flops": described["flops"]}


def summarize(table: pl.DataFrame) -> pl.DataFrame:
    """Return the mean over seeds and the standard deviation (null for one seed), a line a size, split and column."""
    values = list(LABELS)
    return table.group_by("size", "pixels", "split", "column", maintain_order=True).agg(
        pl.len().alias("seeds"),
        *(pl.col(value).mean() for value in values),
        *(pl.col(value).std().alias(f"{value}_sd") for value in values),
    )


def compare_archives(root: Path, first: str, small: Path) -> dict[str, Any]:
    """Describe how far the first size is from the same items of another archive: pixels, of 255, and labels."""
    place = Workspace.at(root / "small-archive")
    prepare(small, place, PrepareConfig(image_size=parse_image_size(first)))
    ours, theirs = read_prepared(Workspace.at(root / first)), read_prepared(place)
    left = ours.items.with_row_index("ours")
    pairs = left.join(theirs.items.with_row_index("theirs"), on="item_id", maintain_order="left")
    differences = np.array(
        [
            np.abs(ours.images[one].astype(np.int16) - theirs.images[other]).mean()
            for one, other in pairs.select("ours", "theirs").iter_rows()
        ]
    )
    finest = ours.schema.levels[-1]
    return {
        "items": len(ours.items),
        "found": len(pairs),
        "same_finest_level": int((pairs[finest] == pairs[f"{finest}_right"]).sum()),
        "mean_difference": float(differences.mean()),
        "median_difference": float(np.median(differences)),
        "largest_mean_difference": float(differences.max()),
    }


def plot_curve(table: pl.DataFrame) -> Any:
    """Draw accuracy, macro-F1 and both costs over the pixels, the mean over seeds with its standard deviation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    summary = summarize(table)
    kinds = summary.select("split", "column").unique(maintain_order=True).rows()
    for axes, (value, label) in zip(figure.subplots(2, 2).flat, LABELS.items(), strict=True):
        is_cost = value in ("seconds", "ms")
        # What a run costs is the same on every line of it.
        for (split, column), color in zip(kinds[:1] if is_cost else kinds, SERIES, strict=False):
            line = summary.filter(pl.col("split") == split, pl.col("column") == column)
            name = f"{'Class' if column == 'label' else column}, {split}"
            errors = line[f"{value}_sd"].fill_null(0)
            style = {"marker": "o", "linestyle": "-" if split == "val" else "--", "capsize": 4, "color": color}
            axes.errorbar(line["pixels"], line[value], yerr=errors, label=None if is_cost else name, **style)
        axes.set_title(label, loc="left", color=INK, fontsize=11)
        axes.set_xscale("log")
        ticks = summary.select("pixels", "size").unique(maintain_order=True)
        axes.set_xticks(ticks["pixels"].to_list(), ticks["size"].to_list(), color=SOFT_INK)
        axes.minorticks_off()
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if is_cost:
            axes.set_ylim(bottom=0)
        else:
            axes.legend(frameon=False, fontsize=8)
    seeds = table["seed"].n_unique()
    figure.suptitle(f"Photographs of more pixels: mean of {seeds} seeds, bars of one standard deviation", color=INK)
    return figure


if __name__ == "__main__":
    main()
