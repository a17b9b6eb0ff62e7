"""A small workspace as the stages leave it, written by hand: five classes, one of them a hostile name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from hangtag.artifacts import hash_file, write_csv, write_json, write_parquet, write_whole
from hangtag.catalog.schema import CatalogSchema
from hangtag.exploration.filenames import slug
from hangtag.labels.labelled import read_labelled
from hangtag.labels.taxonomy import load_taxonomy
from hangtag.manifest import StageRecord
from hangtag.reporting.capstone import list_capstone_classes, read_capstone
from hangtag.workspace import Workspace

HOSTILE = "<script>alert('label')</script>"
CLASSES = (HOSTILE, "Bags", "Shoes", "Ties & Bows", "Watches")
SCHEMA = CatalogSchema("goods.csv", "id", "title", ("group", "kind"), columns=("id", "group", "kind", "title"))
ITEMS_A_CLASS = 10
SPLITS = ("train",) * 6 + ("val",) * 2 + ("test",) * 2
COLOR, GRAY = ("capstone-color-0", "color", 0), ("capstone-gray-0", "gray", 0)
ALL_STAGES = ("explore", "train", "evaluate", "predict")
HEIGHT, WIDTH = 8, 6


class FakeWorkspace:
    """Writes the files of one stage after the other, as the contract between the stages has them."""

    def __init__(self, root: Path, schema: CatalogSchema, class_names: Sequence[str]) -> None:
        self.place = Workspace(root)
        self.schema, self.class_names = schema, sorted(class_names)
        self.items = self._list_items()

    def _list_items(self) -> pl.DataFrame:
        labels = [label for label in self.class_names for _ in range(ITEMS_A_CLASS)] + ["Unknown"] * 3
        rows = []
        for number, label in enumerate(labels):
            own = dict.fromkeys(self.schema.columns, "x")
            own |= {self.schema.id: str(number), self.schema.levels[0]: "Everything", self.schema.levels[-1]: label}
            if self.schema.name:
                own[self.schema.name] = f"{label} of <b>make</b> {number}"
            rows.append({"item_id": str(number), "label": label} | own)
        splits = [*SPLITS * len(self.class_names), None, None, None]
        items = pl.DataFrame(rows).with_columns(split=pl.Series(splits, dtype=pl.String))
        # Items 0 and 1 are the same photograph.
        group = pl.when(pl.col("item_id") == "1").then(pl.lit("0")).otherwise(pl.col("item_id"))
        return items.with_columns(group_id=group, pixel_hash=group).with_row_index("image_index")

    def prepare(self) -> None:
        folder = self.place.prepared
        table = self.items.select(
            "item_id",
            *self.schema.columns,
            image_path=pl.format("images/{}.jpg", "item_id"),
            image_width=pl.lit(WIDTH),
            image_height=pl.lit(HEIGHT),
            image_mode=pl.lit("RGB"),
            given_split=pl.lit(None, pl.String),
        )
        write_parquet(folder / "items.parquet", table)
        with write_whole(folder / "images.npy") as path:
            np.save(path, np.zeros((len(table), HEIGHT, WIDTH, 3), np.uint8), allow_pickle=False)
        rejected = {"item_id": ["lost"], "image_path": ["images/lost.jpg"], "code": ["missing_photograph"]}
        write_csv(folder / "rejected.csv", pl.DataFrame(rejected | {"reason": ["there is no such photograph"]}))
        counts = {"rows": len(table) + 1, "items": len(table), "rejected": 1, "repaired_rows": 0}
        record = StageRecord("prepare", folder, {}, {})
        outputs = [folder / name for name in ("items.parquet", "images.npy", "rejected.csv")]
        record.finish(counts, outputs, schema=self.schema.to_json(), taxonomy_text="")

    def clean(self) -> None:
        folder, name = self.place.labels, self.schema.label_name
        columns = ["item_id", "image_index", *self.schema.columns, "label", "split", "group_id", "pixel_hash"]
        write_parquet(folder / "labels.parquet", self.items.select(columns))
        unknown = self.items.filter(pl.col("label") == "Unknown")["item_id"].to_list()
        moved = [("7", self.items["label"][7], 0.75), *((item_id, "Unknown", 0.0) for item_id in unknown)]
        changes = [
            {"item_id": item_id, "column": name, "old": "Mixed", "new": new, "rule": "relabel"}
            | {"witness": "class words", "score": score}
            for item_id, new, score in moved
        ]
        write_csv(folder / "label_changes.csv", pl.DataFrame(changes))
        after = self.items["label"].value_counts(name="after_relabeling").sort("label")
        write_csv(
            folder / "class_counts.csv",
            after.select("label", pl.col("after_relabeling").alias("before_relabeling"), "after_relabeling"),
        )
        described = {level: {"num_values": 5, "balance": 0.6184} for level in self.schema.levels}
        cleaned = described | {name: {"num_values": 5, "balance": 0.9876}}
        write_json(
            folder / "balance.json",
            {"raw": {"n": 53, "columns": described}, "cleaned": {"n": 53, "columns": cleaned}},
        )
        settings = {"taxonomy": "", "matcher": "class-words", "split_seed": 7, "max_hash_distance": 1, "sample": 0}
        counts = {"items": len(self.items), "relabelled": 1, "unknown": 3}
        rules = list(load_taxonomy("finest", "", self.schema.levels).rules)
        self._finish("clean", folder, settings, counts, taxonomy={"name": "finest", "rules": rules})

    def _finish(self, stage: str, folder: Path, settings: dict[str, Any], counts: dict[str, Any], **more: Any) -> None:
        inputs = {"prepared": _digest_prepared(self.place)} if stage == "clean" else {}
        if stage == "explore":
            inputs = {"labels": read_labelled(self.place).digest}
        elif stage in ("evaluate", "predict"):
            run = folder.parent
            inputs = {"model" if stage == "evaluate" else f"runs/{run.name}": hash_file(run / "model.json")}
        outputs = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
        StageRecord(stage, folder, inputs, settings).finish(counts, outputs, **more)

    def explore(self) -> None:
        folder, levels = self.place.exploration, self.schema.levels
        named = self.items.with_columns(pl.col("label").alias(self.schema.label_name))
        for column in (*levels, self.schema.label_name):
            counts = named[column].value_counts(name="count").sort("count", column).rename({column: "value"})
            write_csv(folder / f"counts_{slug(column)}.csv", counts.with_columns(share=0.1))
        write_csv(folder / "sunburst_given.csv", named.group_by(levels, maintain_order=True).len("count"))
        path = [self.schema.label_name, levels[-1]]
        write_csv(folder / f"sunburst_{slug(path[0])}.csv", named.group_by(path, maintain_order=True).len("count"))
        labels = named["label"].unique().sort().to_list()
        sheets = {"label": labels, "position": [0] * len(labels), "item_id": ["0"] * len(labels)}
        write_csv(folder / "contact_sheets.csv", pl.DataFrame(sheets))
        for label in labels:
            _draw(folder / "contact_sheets" / f"{slug(label)}.png")
        _draw(folder / "mean_pictures.png")
        statistics = {"label": labels, "n": [10] * len(labels)}
        shades = {name: [90.5] * len(labels) for name in ("mean_red", "mean_green", "mean_blue", "contrast")}
        write_csv(folder / "image_statistics.csv", pl.DataFrame(statistics | shades))
        self._finish("explore", folder, {}, {})

    def train(self, run_id: str, color_mode: str, seed: int) -> None:
        folder = self.place.run(run_id)
        history = {"epoch": [1, 2], "loss": [1.0, 0.5], "accuracy": [0.5, 0.75], "val_loss": [0.9, 0.6]}
        more = {"val_accuracy": [0.55, 0.65], "seconds": [60.0, 60.0], "images_per_second": [300.0, 320.0]}
        write_csv(folder / "history.csv", pl.DataFrame(history | more))
        layers = [
            {"name": "photographs", "type": "InputLayer", "output_shape": [80, 60, 3], "parameters": 0},
            {"name": "conv", "type": "Conv2D", "output_shape": [80, 60, 32], "parameters": 896},
            {"name": "probabilities", "type": "Dense", "output_shape": [5], "parameters": 2565},
        ]
        model = {
            "architecture": "capstone",
            "class_names": self.class_names,
            "image_size": [80, 60],
            "preprocessing": {"color_mode": color_mode, "rescale": 1 / 255},
            "parameters": {"total": 3461, "trainable": 3400, "non_trainable": 61},
            "layers": layers,
            "metrics": {"val_accuracy": 0.65, "val_loss": 0.6, "epoch": 2},
            "labels_digest": read_labelled(self.place).digest,
        }
        write_json(folder / "model.json", model)
        settings = {"architecture": "capstone", "color_mode": color_mode, "epochs": 2, "batch_size": 32}
        settings |= {"learning_rate": 0.01, "momentum": 0.9, "flip": True, "seed": seed}
        self._finish("train", folder, settings, {})

    def evaluate(self, run_id: str, accuracy: float = 0.6543) -> None:
        folder = self.place.evaluation(run_id)
        classes = {
            label: {"precision": 0.9, "recall": 0.8, "f1": 0.85 - 0.1 * place, "support": 2}
            for place, label in enumerate(self.class_names)
        }
        interval: dict[str, Any] = {"level": 0.95, "method": "bootstrap", "samples": 1000}
        interval |= {"accuracy": [0.4111, 0.8999], "macro_f1": [0.4222, 0.8888]}
        figures: dict[str, Any] = {
            "n": 2 * len(classes),
            "loss": 0.7891,
            "accuracy": accuracy,
            "macro_f1": 0.6,
            "weighted_f1": 0.61,
        }
        figures |= {"top3_accuracy": 0.95, "ece": 0.04, "confidence_interval": interval, "classes": classes}
        report = {"run_id": run_id, "label_name": self.schema.label_name, "class_names": self.class_names}
        write_json(folder / "report.json", report | {"splits": {"val": figures, "test": figures}})
        pairs = [(label, label, 1) for label in self.class_names]
        pairs += [(label, self.class_names[0], 1) for label in self.class_names[1:]]
        confusion = pl.DataFrame(pairs, schema=["label", "predicted_label", "count"], orient="row")
        write_csv(folder / "confusion_matrix.csv", confusion.with_columns(split=pl.lit("val")))
        wrong = confusion.filter(pl.col("label") != pl.col("predicted_label"))
        write_csv(folder / "most_confused.csv", wrong.with_columns(split=pl.lit("val"), share=0.5))
        _draw(folder / "misclassified.png")
        _draw(folder / "misclassified_looked.png")
        for label in self.class_names:
            _draw(folder / "class_sheets" / f"{slug(label)}.png")
        self._finish("evaluate", folder, {}, {})

    def predict(self, run_id: str, label: str = "Bags") -> None:
        folder = self.place.predictions(run_id)
        unknown = self.items.filter(pl.col("label") == "Unknown")
        names = [self.schema.name] if self.schema.name else []
        # All runs agree on the first item; on the others each has its own opinion.
        labels = ["Shoes", *[label] * (len(unknown) - 1)]
        table = unknown.select("item_id", *names, given_label=self.schema.levels[-1]).with_columns(
            predicted_label=pl.Series(labels), confidence=0.51
        )
        write_csv(folder / "predictions.csv", table)
        _draw(folder / "contact_sheet.png")
        self._finish("predict", folder, {"items": "unknown"}, {})


def _digest_prepared(place: Workspace) -> str:
    from hangtag.catalog.prepared import read_prepared

    return read_prepared(place).digest


def _draw(path: Path) -> None:
    with write_whole(path) as temporary:
        Image.new("RGB", (40, 30), (120, 90, 60)).save(temporary, "PNG")


def build_workspace(
    tmp_path: Path,
    stages: Sequence[str] = ALL_STAGES,
    runs: Sequence[tuple[str, str, int]] = (COLOR, GRAY),
    is_capstone: bool = False,
    schema: CatalogSchema = SCHEMA,
) -> FakeWorkspace:
    """Write a workspace with the stages and the runs (run_id, color_mode, seed) asked for."""
    class_names = list(CLASSES)
    if is_capstone:
        figures = read_capstone()
        columns, levels, class_names = figures["columns"], figures["levels"], list_capstone_classes(figures)
        schema = CatalogSchema("styles.csv", "id", "productDisplayName", tuple(levels), columns=tuple(columns))
    fake = FakeWorkspace(tmp_path / "work space", schema, class_names)
    fake.prepare()
    fake.clean()
    if "explore" in stages:
        fake.explore()
    for run_id, color_mode, seed in runs if "train" in stages else ():
        fake.train(run_id, color_mode, seed)
        if "evaluate" in stages:
            fake.evaluate(run_id, 0.6 + 0.1 * seed)
        if "predict" in stages:
            fake.predict(run_id, "Bags" if color_mode == "color" else "Watches")
    return fake
