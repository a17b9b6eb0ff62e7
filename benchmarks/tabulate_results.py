"""Print a workspace's figures as the Markdown tables of docs/results.md.

Usage: python benchmarks/tabulate_results.py WORKSPACE
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from hangtag.io import read_json
from hangtag.manifest import require_manifest
from hangtag.metrics.comparison import summarize_seeds
from hangtag.workspace import Workspace

SPLITS = {"train": "training", "val": "validation", "test": "hold-out"}


def main() -> None:
    """Print the tables of all evaluated runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    place = Workspace.at(parser.parse_args().workspace)
    reports = {run_id: place.evaluation(run_id) / "report.json" for run_id in place.run_ids()}
    runs = {run_id: read_json(report) for run_id, report in reports.items() if report.is_file()}
    parts = [
        tabulate_splits(runs),
        *(tabulate_levels(place, runs, split) for split in ("val", "test") if _is_judged(runs, split)),
        tabulate_epochs(place),
        tabulate_classes(runs),
    ]
    print("\n\n".join("\n".join(part) for part in parts))


def tabulate_splits(runs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Return a line for each run and split, with 95 % intervals."""
    yield "| run | split | items | loss | accuracy [95 %] | macro-F1 [95 %] | top 3 | ECE |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for run_id, report in runs.items():
        for split in report["splits"]:
            name, figures = SPLITS[split], report["splits"][split]
            interval = figures["confidence_interval"]
            accuracy, macro_f1 = (
                f"{figures[key]:.4f} [{interval[key][0]:.4f}, {interval[key][1]:.4f}]"
                for key in ("accuracy", "macro_f1")
            )
            yield (
                f"| {run_id} | {name} | {figures['n']:,} | {figures['loss']:.3f} | {accuracy} | {macro_f1} "
                f"| {figures['top3_accuracy']:.4f} | {figures['ece']:.4f} |"
            )


def tabulate_levels(place: Workspace, runs: dict[str, dict[str, Any]], split: str) -> Iterator[str]:
    """Return a line for each level and attribute of the runs that differ by their seed alone.

    Means over seeds; in brackets, where there are several, Student's 95 % interval of the mean over seeds.
    """
    kinds: dict[str, list[str]] = {}
    for run_id in runs:
        settings = require_manifest(place.run(run_id), "Run `hangtag train` first.")["settings"]
        kinds.setdefault(repr({**settings, "seed": None}), []).append(run_id)
    yield f"| {SPLITS[split]} | classes | accuracy | macro-F1 | of 10 items or more | accuracy | macro-F1 |"
    yield "| --- |" + " --- |" * 6
    for run_ids in kinds.values():
        found = [runs[run_id]["levels"][split] for run_id in run_ids]
        for column, figures in found[0].items():
            cells = {
                key: _describe_mean([each[column][key] for each in found])
                for key in ("accuracy", "macro_f1", "frequent_accuracy", "frequent_macro_f1")
            }
            yield (
                f"| {run_ids[0]}{f' and {len(run_ids) - 1} more' if len(run_ids) > 1 else ''}, {column} "
                f"| {figures['num_classes']} | {cells['accuracy']} | {cells['macro_f1']} "
                f"| {figures['frequent_classes']} | {cells['frequent_accuracy']} | {cells['frequent_macro_f1']} |"
            )


def _is_judged(runs: dict[str, dict[str, Any]], split: str) -> bool:
    """Return whether all runs were evaluated on a split."""
    return all(split in report["splits"] for report in runs.values())


def _describe_mean(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    found = summarize_seeds(values)
    return f"{found['mean']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def tabulate_epochs(place: Workspace) -> Iterator[str]:
    """Return each run's validation accuracy epoch by epoch."""
    histories = {run_id: pl.read_csv(place.run(run_id) / "history.csv") for run_id in place.run_ids()}
    epochs = max(len(history) for history in histories.values())
    yield f"| run | {' | '.join(str(epoch + 1) for epoch in range(epochs))} |"
    yield "| --- |" + " --- |" * epochs
    for run_id, history in histories.items():
        yield f"| {run_id} | {' | '.join(f'{value:.3f}' for value in history['val_accuracy'])} |"


def tabulate_classes(runs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Return each class's F1 on validation and hold-out."""
    splits = [split for split in ("val", "test") if _is_judged(runs, split)]
    yield f"| class | {' | '.join(f'{run_id}, {SPLITS[split]}' for run_id in runs for split in splits)} |"
    yield "| --- |" + " --- |" * (len(splits) * len(runs))
    for label in next(iter(runs.values()))["class_names"]:
        cells = [
            f"{report['splits'][split]['classes'][label]['f1']:.3f}" for report in runs.values() for split in splits
        ]
        yield f"| {label} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
