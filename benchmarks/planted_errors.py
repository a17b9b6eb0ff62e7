"""Plant wrong labels in a catalogue, and measure how well the audit ranks them.

Usage: python benchmarks/planted_errors.py --workspace W --way uniform|confused --to FOLDER
           [--with-names] [--share 0.05] [--seed 0] [--folds 5] [--preset quick] [--epochs N] [--run RUN]

A copy of the workspace's labels goes to FOLDER/workspace, in which a seeded share of the items has the label and all
levels of an item of another class: of any (uniform), or of the one that their class is most often taken for
(confused, by the confusion matrix of an evaluated run of W). The truth stays aside, in FOLDER/truth.csv. A network is
trained in folds on the copy, and the copy is audited; finished epochs and folds are kept, so after a stop the same
call goes on. FOLDER/results.json has the figures: precision among as many as were planted, recall among twice as
many, average precision, for

- the audit's issues of wrong labels; those of them alone that say that the label is another, which is all that the
  rankings below can say; and all its issues that say that something is wrong;
- random order, and lowest confidence first;
- the ranking of cleanlab on the same probabilities, where it is installed.

Errors that the catalogue had before count as mistakes of every ranking alike; but for items that `clean` gave another
label (Free Items): of those it is known that what they were given is wrong, and they are left out.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.auditing.issues import COLUMNS, LABEL_CODES, LABEL_ERROR
from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import AuditConfig
from hangtag.errors import HangtagError, WorkspaceError
from hangtag.io import hash_json, read_csv, write_csv, write_json, write_parquet
from hangtag.labels.dataset import read_labeled_items
from hangtag.manifest import StageRecord, compute_digest, require_manifest
from hangtag.presets import PRESETS, read_preset
from hangtag.settings import resolve
from hangtag.stages.audit import audit
from hangtag.stages.cross_validate import cross_validate
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

RUN = "planted"
# A longer queue than people want: the whole ranking counts here, and below it hardly anything is left.
MIN_SCORE = 0.05


def main() -> None:
    """Plant, train, audit, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--way", choices=("uniform", "confused"), required=True)
    parser.add_argument("--with-names", action="store_true")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="quick")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--run")
    arguments = parser.parse_args()
    try:
        figures = measure(arguments)
    except HangtagError as error:
        raise SystemExit(f"Error: {error}") from error
    _print(figures)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do all of it, and give the figures."""
    place = plant(arguments.workspace, arguments.to, arguments.way, arguments.share, arguments.seed, arguments.run)
    settings = {"epochs": arguments.epochs, "batch_size": arguments.batch_size}
    training = resolve(TrainConfig, read_preset(arguments.preset), settings)
    folds = cross_validate(place, training, folds=arguments.folds, run_id=RUN)
    result = audit(place, AuditConfig(min_score=MIN_SCORE, use_names=arguments.with_names), run_id=RUN)
    truth = read_csv(arguments.to / "truth.csv", infer_schema=False)
    out_of_fold = pl.read_parquet(folds.folder / "out_of_fold.parquet")
    issues = read_csv(result.folder / "issues.csv", schema=COLUMNS)
    labelled = read_labeled_items(place)
    against = keep_against_label(issues, labelled.table, list(labelled.schema.levels))
    rankings = rank(out_of_fold, issues, against, arguments.seed)
    is_planted = out_of_fold["item_id"].is_in(truth["item_id"].to_list()).to_numpy()
    known = ~out_of_fold["item_id"].is_in(_list_relabelled(arguments.workspace)).to_numpy()
    figures = {
        "way": arguments.way,
        "with_names": arguments.with_names,
        "seed": arguments.seed,
        "items": len(out_of_fold),
        "planted": int(is_planted[known].sum()),
        "out_of_fold_accuracy": folds.metrics["accuracy"],
        "audit_seconds": result.seconds,
        "rankings": {
            name: compute_interval_metrics(scores[known], is_planted[known]) for name, scores in rankings.items()
        },
        "suggestions_right": _judge_suggestions(issues, truth),
    }
    names = "_with_names" if arguments.with_names else ""
    write_json(arguments.to / f"results{names}.json", figures)
    return figures


def plant(source: Path, folder: Path, way: str, share: float, seed: int, run_id: str | None) -> Workspace:
    """Write the copy with its planted errors and the truth beside it; one that is there already stays."""
    place, origin = Workspace.at(folder / "workspace"), Workspace.at(source)
    labelled, prepared = read_labeled_items(origin), read_prepared(origin)
    settings = {"way": way, "share": share, "seed": seed}
    record = StageRecord("clean", place.labels, {}, settings | {"source": labelled.digest})
    manifest = require_manifest(place.labels, "") if (place.labels / "manifest.json").is_file() else {}
    if manifest.get("settings") == record.settings:
        return place
    wanted = _find_confused(origin, run_id) if way == "confused" else None
    levels = list(labelled.schema.levels)
    table, truth = flip(labelled.table, levels, share, seed, wanted)
    place.prepared.mkdir(parents=True, exist_ok=True)
    images = place.prepared / "images.npy"
    images.unlink(missing_ok=True)
    images.symlink_to((origin.prepared / "images.npy").resolve())
    flipped = table.select("item_id", *levels)
    items = prepared.items.update(flipped, on="item_id", how="left", include_nulls=True, maintain_order="left")
    write_parquet(place.prepared / "items.parquet", items.select(prepared.items.columns))
    done = require_manifest(origin.prepared, "")
    StageRecord("prepare", place.prepared, {"planted": hash_json(settings)}, {}).finish(
        {}, [place.prepared / "items.parquet", images], schema=done["schema"], taxonomy_text=done["taxonomy_text"]
    )
    record.inputs = {"prepared": compute_digest(require_manifest(place.prepared, ""))}
    write_parquet(place.labels / "labels.parquet", table)
    write_csv(folder / "truth.csv", truth)
    record.finish({"planted": len(truth)}, [place.labels / "labels.parquet"])
    return place


def flip(
    table: pl.DataFrame, levels: list[str], share: float, seed: int, wanted: Mapping[str, str] | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a share of the items in splits the label and levels of an item of another class.

    Args:
        table: The cleaned labels.
        levels: The label columns.
        share: 0 to 1.
        seed: Draws the items, their new classes, and whose levels they get.
        wanted: The new class of each class; None draws any other.

    Returns:
        The table, and for each flipped item `item_id`, its `label` and levels as they were, and `planted_label`.
    """
    random = np.random.default_rng(seed)
    labels = np.array(table["label"].to_list())
    usable = np.flatnonzero(table["split"].is_not_null().to_numpy())
    classes = np.unique(labels[usable])
    # By item, not by row: the order of the rows changes nothing.
    usable = usable[np.argsort(table["item_id"].gather(usable).to_numpy())]
    members = {name: usable[labels[usable] == name] for name in classes}
    chosen = random.choice(usable, round(share * len(usable)), replace=False)
    donors = np.arange(len(table))
    for row in chosen.tolist():
        others = classes[classes != labels[row]]
        target = wanted.get(labels[row], "") if wanted else str(random.choice(others))
        # A class that was never taken for another gets any.
        donors[row] = random.choice(members[target if target in members else str(random.choice(others))])
    columns = [*levels, "label"]
    flipped = table.with_columns(table[column].gather(donors).alias(column) for column in columns)
    truth = table.select("item_id", *columns).with_columns(planted_label=flipped["label"])[chosen]
    return flipped, truth


def _find_confused(origin: Workspace, run_id: str | None) -> dict[str, str]:
    """Return for each class the one that it is most often taken for, by an evaluated run."""
    runs = [run_id] if run_id else origin.run_ids()
    paths = [origin.evaluation(each) / "confusion_matrix.csv" for each in runs]
    found = [path for path in paths if path.is_file()]
    if not found:
        hint = "Train a run and evaluate it in the workspace first, or name one with --run."
        raise WorkspaceError("There is no confusion matrix of the label.", hint=hint)
    confusion = read_csv(found[0]).filter(pl.col("label") != pl.col("predicted_label"), pl.col("count") > 0)
    most = confusion.sort("count", "predicted_label", descending=[True, False]).unique("label", keep="first")
    return dict(most.select("label", "predicted_label").iter_rows())


def _list_relabelled(source: Path) -> list[str]:
    path = Workspace.at(source).labels / "label_changes.csv"
    if not path.is_file():
        return []
    changes = read_csv(path, infer_schema=False)
    return changes.filter(pl.col("rule") == "relabel")["item_id"].to_list()


def keep_against_label(issues: pl.DataFrame, table: pl.DataFrame, levels: list[str]) -> pl.DataFrame:
    """Return the issues whose suggestion makes another cleaned label, not another level under the same label alone."""
    items = {line["item_id"]: line for line in table.select("item_id", "label", *levels).iter_rows(named=True)}
    usual = table.group_by(levels).agg(pl.col("label").mode().min())
    label_of = {tuple(row[:-1]): row[-1] for row in usual.iter_rows()}

    def differs(item_id: str, changes: str) -> bool:
        line = items.get(item_id)
        if line is None:
            return False
        changed = line | json.loads(changes)
        return bool(label_of.get(tuple(changed[level] for level in levels)) != line["label"])

    pairs = issues.select("item_id", "changes").iter_rows()
    return issues.filter(pl.Series([differs(item_id, changes) for item_id, changes in pairs], dtype=pl.Boolean))


def rank(out_of_fold: pl.DataFrame, issues: pl.DataFrame, against: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Return each ranking as a score an item, the most suspect highest; what is in no queue comes last."""
    probs = np.array(out_of_fold["pred_probs"].to_list(), np.float64)
    probs /= probs.sum(axis=1, keepdims=True)
    rankings = {
        "audit, wrong labels": _score_queue(out_of_fold["item_id"], issues, (LABEL_ERROR,)),
        "audit, against the label": _score_queue(out_of_fold["item_id"], against, (LABEL_ERROR,)),
        "audit, all of it": _score_queue(out_of_fold["item_id"], issues, LABEL_CODES),
        "random": np.random.default_rng(seed + 1).random(len(probs)),
        "lowest confidence first": 1 - probs.max(axis=1),
    }
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ModuleNotFoundError:
        return rankings
    names = sorted(out_of_fold["label"].unique().to_list())
    given = np.array([names.index(label) for label in out_of_fold["label"]])
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        rankings[f"cleanlab, {method}"] = 1 - get_label_quality_scores(given, probs, method=method)
    queue = find_label_issues(given, probs, return_indices_ranked_by="self_confidence", n_jobs=1)
    rankings["cleanlab, its issues"] = np.full(len(probs), -1.0)
    rankings["cleanlab, its issues"][queue] = np.linspace(1, 0.5, len(queue))
    return rankings


def _score_queue(item_ids: pl.Series, issues: pl.DataFrame, codes: tuple[str, ...]) -> Any:
    surest = issues.filter(pl.col("code").is_in(codes)).group_by("item_id").agg(pl.col("score").max())
    table = item_ids.to_frame().join(surest, on="item_id", how="left", maintain_order="left")
    return table["score"].fill_null(-1.0).to_numpy()


def compute_interval_metrics(scores: Any, is_planted: Any) -> dict[str, float]:
    """Return precision at the number planted, recall at twice that, and average precision, of ties the mean order."""
    from sklearn.metrics import average_precision_score

    number = int(is_planted.sum())
    # Ties in an order that says nothing.
    order = np.lexsort((np.random.default_rng(0).random(len(scores)), -scores))
    hits = is_planted[order]
    return {
        "precision": round(float(hits[:number].mean()), 4),
        "recall": round(float(hits[: 2 * number].sum() / number), 4),
        "average_precision": round(float(average_precision_score(is_planted, scores)), 4),
    }


def _judge_suggestions(issues: pl.DataFrame, truth: pl.DataFrame) -> float:
    """Return the share of found planted errors whose suggestion brings back the coarser levels and the finest one."""
    found = issues.filter(pl.col("code") == LABEL_ERROR).unique("item_id", keep="first", maintain_order=True)
    both = found.join(truth, on="item_id")
    right = [
        all(line[column] == value for column, value in json.loads(line["changes"]).items() if column in line)
        for line in both.iter_rows(named=True)
    ]
    return round(float(np.mean(right)), 4) if right else 0.0


def _print(figures: Mapping[str, Any]) -> None:
    names = "photographs and names" if figures["with_names"] else "photographs alone"
    planted = f"{figures['planted']:,} of {figures['items']:,} labels planted"
    print(f"{planted}, {figures['way']}, seed {figures['seed']}, {names}")
    print(f"out-of-fold accuracy {figures['out_of_fold_accuracy']}, audit {figures['audit_seconds']} s")
    print("| ranking | precision at the number planted | recall at twice that | average precision |")
    print("| --- | --- | --- | --- |")
    for name, found in figures["rankings"].items():
        print(f"| {name} | {found['precision']:.3f} | {found['recall']:.3f} | {found['average_precision']:.3f} |")
    print(f"suggestions right: {figures['suggestions_right']:.3f}")


if __name__ == "__main__":
    main()
