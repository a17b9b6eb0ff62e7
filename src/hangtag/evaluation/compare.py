"""Stage `compare`: evaluated runs side by side, each tested against one of them on the same items."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hangtag.artifacts import hash_file, hash_json, read_json, write_csv, write_text
from hangtag.config import SPLITS, EvaluateConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.evaluation.intervals import LEVEL, METHOD
from hangtag.evaluation.paired import COLUMNS, Comparison, JudgedRun, build_comparison
from hangtag.inference.runs import select_runs
from hangtag.manifest import StageRecord, StageResult, compute_digest, read_manifest, require_manifest
from hangtag.workspace import Workspace

FILES = ("comparison.csv", "pairs.csv", "seeds.csv")
TEXT = dict.fromkeys(("run_id", "baseline", "run_ids", "split", "figure"), pl.String)
NOTHING = "–"
FIGURES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
# So that a run's intervals are those of its evaluation, unless either was told otherwise.
DEFAULTS = EvaluateConfig()


@dataclass(frozen=True)
class Block:
    """A small table for people.

    Attributes:
        title: What it is of, a sentence or two.
        headings: A word or two for each column.
        rows: Its cells, row by row.
        note: How its figures were found, where that is to be said.
    """

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def compare(
    workspace: str | Path | Workspace,
    run_ids: Sequence[str],
    *,
    split: str = "val",
    baseline: str | None = None,
    samples: int = DEFAULTS.bootstrap_samples,
    seed: int = DEFAULTS.bootstrap_seed,
) -> StageResult:
    """Put evaluated runs side by side and test each against the baseline, on the items that all of them share.

    Writes `comparison.csv`, `pairs.csv`, `seeds.csv` (see `Comparison`) and `comparison.md` to `comparison/`.

    Args:
        workspace: A workspace with evaluated runs.
        run_ids: The runs, two or more with the baseline.
        split: Whose items. `test` is for the final judgement: its figures flatter a run that was chosen by them.
        baseline: The run that the others are tested against, the first one by default.
        samples: Draws behind each 95 % interval.
        seed: Of those draws.

    Raises:
        SettingsError: There is no such split, or there are fewer than two runs.
        WorkspaceError: A run is not finished, or not evaluated on the split as it is now; or the runs were judged on
            other targets, on other labels, or on no item that all of them share.
    """
    place = Workspace.at(workspace)
    if split not in SPLITS:
        allowed = f"Allowed: {', '.join(SPLITS)}."
        raise SettingsError("There is no such split.", allowed=allowed, received=split)
    chosen = _choose_runs(place, run_ids, baseline)
    baseline = baseline or chosen[0]
    _require_evaluations(place, chosen)
    inputs = {run_id: _digest(place, run_id) for run_id in chosen}
    settings = {"run_ids": chosen, "split": split, "baseline": baseline, "samples": samples, "seed": seed}
    record = StageRecord("compare", place.comparison, inputs, settings)
    if current := record.find_current():
        return current
    runs = [_read_run(place, run_id, split) for run_id in chosen]
    comparison = build_comparison(runs, chosen.index(baseline), split, samples=samples, seed=seed)
    for name, table in zip(FILES, (comparison.runs, comparison.pairs, comparison.seeds), strict=True):
        write_csv(record.folder / name, table)
    write_text(record.folder / "comparison.md", write_markdown(comparison))
    counts = {"runs": len(chosen), "split": split, "items": comparison.runs["items"][0]}
    return record.finish(counts, [record.folder / name for name in (*FILES, "comparison.md")])


def read_comparison(folder: Path) -> Comparison:
    """Read the tables that `compare` wrote to a folder."""
    return Comparison(*(pl.read_csv(folder / name, schema_overrides=TEXT) for name in FILES))


def _choose_runs(place: Workspace, run_ids: Sequence[str], baseline: str | None) -> list[str]:
    """Give the runs in the order asked for, a baseline that is not among them first."""
    asked = list(dict.fromkeys(run_ids))
    if baseline is not None and baseline not in asked:
        asked.insert(0, baseline)
    if len(asked) < 2:
        raise SettingsError("There is nothing to compare.", allowed="Allowed: two runs or more.", received=asked)
    return select_runs(place, asked)


def _require_evaluations(place: Workspace, run_ids: Sequence[str]) -> None:
    """Refuse runs that are not evaluated, or were trained again since."""
    missing = [run_id for run_id in run_ids if not _is_evaluated(place, run_id)]
    if missing:
        command = " ".join(["hangtag evaluate", *(f"--run {run_id}" for run_id in missing)])
        what = "These runs are not evaluated, or were trained again since."
        raise WorkspaceError(what, received=missing, hint=f"Run `{command}` first.")


def _is_evaluated(place: Workspace, run_id: str) -> bool:
    manifest = read_manifest(place.evaluation(run_id))
    return manifest is not None and manifest["inputs"]["model"] == hash_file(place.run(run_id) / "model.json")


def _digest(place: Workspace, run_id: str) -> str:
    """Give a digest of what is told of a run: its files, its settings and its evaluation."""
    trained = require_manifest(place.run(run_id), "Run `hangtag train` first.")
    judged = require_manifest(place.evaluation(run_id), "Run `hangtag evaluate` first.")
    return hash_json([compute_digest(trained), trained["settings"], trained["inputs"], compute_digest(judged)])


def _read_run(place: Workspace, run_id: str, split: str) -> JudgedRun:
    folder, evaluation = place.run(run_id), place.evaluation(run_id)
    predictions = pl.read_parquet(evaluation / "predictions.parquet", columns=[*COLUMNS, "split"])
    found = predictions.filter(pl.col("split") == split).select(COLUMNS).drop_nulls("label")
    # That a product has no value on a level is an answer too.
    found = found.with_columns(pl.col("predicted_label").fill_null(""))
    if found.is_empty():
        raise WorkspaceError(
            f"The run {run_id} was not judged on {split}.",
            allowed=f"Judged: {', '.join(predictions['split'].unique(maintain_order=True))}.",
            hint=f"Run `hangtag evaluate --run {run_id}` first, with {split} among its --splits.",
        )
    model, report = read_json(folder / "model.json"), read_json(evaluation / "report.json")
    return JudgedRun(
        run_id=run_id,
        manifest=require_manifest(folder, "Run `hangtag train` first."),
        model=model,
        history=pl.read_csv(folder / "history.csv"),
        # Older reports do not name it: they are of the model's primary level.
        target=report.get("target") or model["outputs"]["primary"],
        predictions=found,
    )


def list_blocks(comparison: Comparison) -> list[Block]:
    """Tell a comparison in small tables that fit a terminal, for people; the CSV files have all digits."""
    runs, pairs = comparison.runs.to_dicts(), comparison.pairs.to_dicts()
    baseline = pairs[0]["baseline"]
    blocks = [
        Block(
            _describe_items(comparison.runs),
            ("run", "items", "accuracy [95 %]", "macro-F1 [95 %]"),
            [(row["run_id"], f"{row['items']:,}", *(_with_interval(row, key, key) for key in FIGURES)) for row in runs],
            f"In brackets: {LEVEL:.0%} intervals, {METHOD}.",
        ),
        Block(
            "What they took.",
            ("run", "parameters", "MFLOPs", "minutes", "images/s", "epochs"),
            [_list_costs(row) for row in runs],
            "MFLOPs: one pass over one photograph, a multiplication and its addition counted as two operations; a run "
            "that averages the mirror image takes two passes. Minutes and images a second: of its training.",
        ),
        Block(
            f"Accuracy less that of the baseline, {baseline}; items that only one of the two has right.",
            ("run", "difference [95 %]", "only run", "only base", "p"),
            [_list_difference(row) for row in pairs],
            "Both runs are measured in each draw of items. p: McNemar's exact test, every item for itself, not "
            "corrected for the number of runs.",
        ),
        Block(
            "Macro-F1 less that of the baseline.",
            ("run", "difference [95 %]"),
            [(row["run_id"], _with_interval(row, "macro_f1_difference", "macro_f1", "+.3f")) for row in pairs],
        ),
    ]
    if len(comparison.seeds):
        blocks.append(_list_seeds(comparison.seeds.to_dicts()))
    return blocks


def _describe_items(runs: pl.DataFrame) -> str:
    items, split, judged = runs["items"][0], runs["split"][0], runs["judged_items"].to_list()
    sentence = f"{items:,} items of {split}."
    if max(judged) > items:
        each = ", ".join(f"{count:,}" for count in judged)
        sentence = f"{items:,} items of {split}, those that all runs were judged on ({each})."
    return f"{sentence} No run is to be chosen by them." if split == "test" else sentence


def _with_interval(row: dict[str, Any], key: str, ends: str, form: str = ".3f") -> str:
    low, high = (f"{row[f'{ends}{end}']:{form}}" for end in ("_low", "_high"))
    return f"{row[key]:{form}} [{low}, {high}]"


def _list_costs(row: dict[str, Any]) -> tuple[str, ...]:
    flops = NOTHING if row["flops"] is None else f"{row['flops'] / 1e6:,.1f}"
    speed = f"{row['images_per_second']:,.1f}"
    return (
        row["run_id"],
        f"{row['parameters']:,}",
        flops,
        f"{row['training_minutes']:,.1f}",
        speed,
        f"{row['epochs']:,}",
    )


def _list_difference(row: dict[str, Any]) -> tuple[str, ...]:
    counts = (f"{row[key]:,}" for key in ("only_run_right", "only_baseline_right"))
    p = "< 0.001" if row["mcnemar_p"] < 0.001 else f"{row['mcnemar_p']:.3f}"
    return row["run_id"], _with_interval(row, "accuracy_difference", "accuracy", "+.3f"), *counts, p


def _list_seeds(rows: Sequence[dict[str, Any]]) -> Block:
    told = [
        (
            _shorten(row["run_ids"].split(" ")),
            FIGURES[row["figure"]],
            f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
            f"{row['lowest']:.3f}",
            f"{row['highest']:.3f}",
        )
        for row in rows
    ]
    note = "In brackets: Student's interval of the mean over other seeds, on the same items."
    return Block("Over seeds.", ("runs", "figure", "mean [95 %]", "lowest", "highest"), told, note)


def _shorten(run_ids: Sequence[str]) -> str:
    """Give `capstone-color-0, -1, -2` for runs whose names begin alike."""
    start = run_ids[0].rpartition("-")[0]
    rest = [run_id.removeprefix(start) if run_id.startswith(f"{start}-") else run_id for run_id in run_ids[1:]]
    return ", ".join([run_ids[0], *rest])


def write_markdown(comparison: Comparison) -> str:
    """Give the text of `comparison.md`."""
    lines = ["# Runs compared", ""]
    for block in list_blocks(comparison):
        lines += [block.title, "", *(f"| {' | '.join(row)} |" for row in (block.headings, *block.rows))]
        lines.insert(len(lines) - len(block.rows), f"|{' --- |' * len(block.headings)}")
        lines += ["", *([block.note, ""] if block.note else [])]
    return "\n".join(lines[:-1]) + "\n"
