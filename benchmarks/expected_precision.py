"""Plant wrong labels, estimate blind how many of the first label errors are right, and compare with those found.

Usage: python benchmarks/expected_precision.py --workspace W --source photographs|names --to FILE [--seeds 10 11 12]
           [--with-unfamiliar]

The probabilities are those of the model that hangtag comes with (photographs), or of classifiers of the names, which
are trained again on the changed labels. A seeded share of the judged items gets another label: of any class (uniform),
or of the class that its own is most often taken for (confused). Nothing is written to the workspace.

Planted labels are a lower bound of the right ones: a catalogue has errors of its own. FILE gets a row for each setting
and depth.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.evidence import OutOfSampleProbs
from hangtag.auditing.expected_precision import expect_right
from hangtag.auditing.issues import join_issues
from hangtag.auditing.label_issues import find_label_issues
from hangtag.auditing.model_evidence import predict_with_model
from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import AuditConfig
from hangtag.inference.classifier import Classifier
from hangtag.io import write_csv
from hangtag.labels.dataset import LabeledItems, read_labeled_items
from hangtag.models.label_space import NO_VALUE, Indices
from hangtag.stages.audit import _build_context, _predict_from_names
from hangtag.workspace import Workspace

RATES, WAYS = (0.02, 0.05), ("uniform", "confused")


def main() -> None:
    """Measure all settings, print them and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--source", choices=("photographs", "names"), required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--with-unfamiliar", action="store_true", help="judge photographs out of distribution too")
    arguments = parser.parse_args()
    classifier = Classifier.load()
    if arguments.with_unfamiliar:
        classifier.description["out_of_distribution"]["limit"] = 1e12
        vars(classifier)["_pixel_statistics"] = None
    rows = list(measure(arguments.workspace, arguments.source, arguments.seeds, classifier))
    if not rows:
        raise SystemExit("No queue has 20 label errors: hardly any label was judged.")
    table = pl.DataFrame(rows)
    write_csv(arguments.to, table)
    inside = pl.col("found").is_between("low", "high")
    shown = table.group_by("way", "rate", "issues", maintain_order=True).agg(
        pl.col("agreement", "expected", "low", "high", "found").mean().round(2), inside=inside.sum(), of=pl.len()
    )
    print("| way | rate | first | agreement | expected | low | high | planted among them | inside |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in shown.iter_rows():
        print("| " + " | ".join(map(str, row[:-2])) + f" | {row[-2]} of {row[-1]} |")


def measure(workspace: Path, source: str, seeds: list[int], classifier: Classifier) -> Iterator[dict[str, Any]]:
    """Yield a row for each seed, way, rate and depth."""
    place = Workspace.at(workspace)
    prepared = read_prepared(place)
    labelled = replace(read_labeled_items(place), images=prepared.images, others=prepared.others)
    context = _build_context(prepared, labelled, AuditConfig())
    small = context.small
    clean = (
        _predict_from_names(context, labelled)
        if source == "names"
        else predict_with_model(classifier, labelled, context.items, context.hashes)
    )
    for seed in seeds:
        for way in WAYS:
            for rate in RATES:
                given, chosen = flip(clean, way, rate, seed)
                planted = replace(context, items=relabel(context, clean, given, chosen))
                found = predict_again(planted, clean, given, labelled, source)
                # Attributes are not planted, and only levels are compared.
                vars(found).update(small=small, attributes=())
                issues = join_issues([find_label_issues(found)])
                ids = context.items["item_id"].gather(clean.rows[chosen]).to_list()
                is_planted = issues["item_id"].is_in(ids).to_numpy()
                expected: Any = expect_right(found, issues)
                for each in expected["first"]:
                    settings = {"seed": seed, "way": way, "rate": rate, "agreement": expected["agreement"]}
                    # Queues end at different lengths.
                    if each["issues"] in (20, 100, 500):
                        yield settings | each | {"found": int(is_planted[: each["issues"]].sum())}


def flip(clean: OutOfSampleProbs, way: str, rate: float, seed: int) -> tuple[Indices, Indices]:
    """Return the given category paths with planted ones, and which items these are, both among the judged."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(clean.rows), round(rate * len(clean.rows)), replace=False)
    confusions = np.zeros((clean.pred_probs.shape[1], clean.pred_probs.shape[1]))
    np.add.at(confusions, clean.given, clean.pred_probs)
    present, given = np.unique(clean.given), clean.given.copy()
    for item in chosen.tolist():
        others = present[present != clean.given[item]]
        usual = others[confusions[clean.given[item]][others].argmax()]
        given[item] = random.choice(others) if way == "uniform" else usual
    return given, chosen


def relabel(context: AuditContext, clean: OutOfSampleProbs, given: Indices, chosen: Indices) -> pl.DataFrame:
    """Return the items with the values of the planted category paths, and the planted label in `label`."""
    space, items = clean.label_space, context.items
    values: dict[str, list[Any]] = {level: items[level].to_list() for level in space.levels}
    labels = items["label"].to_list()
    for item in chosen.tolist():
        row, path = int(clean.rows[item]), space.category_paths[given[item]]
        for level, index in zip(space.levels, path, strict=True):
            values[level][row] = None if index == NO_VALUE else space.levels[level][index]
        labels[row] = values[space.primary][row]
    columns = [pl.Series(name, column, pl.String) for name, column in (values | {"label": labels}).items()]
    return items.with_columns(columns)


def predict_again(
    planted: AuditContext, clean: OutOfSampleProbs, given: Indices, labelled: LabeledItems, source: str
) -> AuditContext:
    """Return the context with its probabilities: those of the model do not depend on the labels, those of names do."""
    if source == "names":
        return replace(planted, name_probs=_predict_from_names(planted, labelled))
    return replace(planted, image_probs=replace(clean, given=given))


if __name__ == "__main__":
    main()
