"""Print a workspace's figures as the Markdown tables of docs/results.md.

Usage: python benchmarks/tabulate_results.py WORKSPACE
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from hangtag.artifacts import read_json
from hangtag.workspace import Workspace

SPLITS = {"train": "training", "val": "validation", "test": "hold-out"}


def main() -> None:
    """Print the tables of all judged runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    place = Workspace.at(parser.parse_args().workspace)
    runs = {run_id: read_json(place.evaluation(run_id) / "report.json") for run_id in place.run_ids()}
    print("\n".join([*tabulate_splits(runs), "", *tabulate_epochs(place), "", *tabulate_classes(runs)]))


def tabulate_splits(runs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Give a line for each run and split, with 95 % intervals."""
    yield "| run | split | items | loss | accuracy [95 %] | macro-F1 [95 %] | top 3 | ECE |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for run_id, report in runs.items():
        for split, name in SPLITS.items():
            figures = report["splits"][split]
            interval = figures["confidence_interval"]
            accuracy, macro_f1 = (
                f"{figures[key]:.4f} [{interval[key][0]:.4f}, {interval[key][1]:.4f}]"
                for key in ("accuracy", "macro_f1")
            )
            yield (
                f"| {run_id} | {name} | {figures['n']:,} | {figures['loss']:.3f} | {accuracy} | {macro_f1} "
                f"| {figures['top3_accuracy']:.4f} | {figures['ece']:.4f} |"
            )


def tabulate_epochs(place: Workspace) -> Iterator[str]:
    """Give each run's validation accuracy epoch by epoch."""
    histories = {run_id: pl.read_csv(place.run(run_id) / "history.csv") for run_id in place.run_ids()}
    epochs = max(len(history) for history in histories.values())
    yield f"| run | {' | '.join(str(epoch + 1) for epoch in range(epochs))} |"
    yield "| --- |" + " --- |" * epochs
    for run_id, history in histories.items():
        yield f"| {run_id} | {' | '.join(f'{value:.3f}' for value in history['val_accuracy'])} |"


def tabulate_classes(runs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Give each class's F1 on validation and hold-out."""
    yield f"| class | {' | '.join(f'{run_id}, {name}' for run_id in runs for name in ('validation', 'hold-out'))} |"
    yield "| --- |" + " --- |" * (2 * len(runs))
    for label in next(iter(runs.values()))["class_names"]:
        cells = [
            f"{report['splits'][s]['classes'][label]['f1']:.3f}" for report in runs.values() for s in ("val", "test")
        ]
        yield f"| {label} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
