"""Test all stages with a transformer on larger photographs, from prepare to serve."""

from pathlib import Path

import numpy as np
import polars as pl
from fastapi.testclient import TestClient

from hangtag.config import CleanConfig, EvaluateConfig, PrepareConfig, ServeConfig
from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.inference.classifier import Classifier
from hangtag.io import read_json
from hangtag.serving.app import build_app
from hangtag.stages.classify import print_predictions
from hangtag.stages.clean import clean
from hangtag.stages.evaluate import evaluate
from hangtag.stages.export import export
from hangtag.stages.prepare import prepare
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

HEIGHT, WIDTH = 120, 90


def test_a_transformer_on_larger_photographs_from_prepare_to_serve(tmp_path: Path) -> None:
    catalog, place = tmp_path / "catalog", Workspace.at(tmp_path / "work")
    write_demo_catalog(catalog, items_per_kind=12)
    prepare(catalog, place, PrepareConfig(image_size=(HEIGHT, WIDTH)))
    clean(place, CleanConfig())
    train(place, TrainConfig(architecture="vit", epochs=2, batch_size=16, precision="float32"), run_id="vit")
    evaluate(place, EvaluateConfig(splits=("val",), bootstrap_samples=100))
    evaluated = place.evaluation("vit")
    assert (evaluated / "attention.png").is_file()
    # Patches of ten pixels.
    assert pl.read_csv(evaluated / "attention.csv")["row"].max() == HEIGHT // 10
    manifest = read_json(evaluated / "manifest.json")
    assert {"attention.png", "attention.csv"} <= manifest["outputs"].keys()

    export(place, "vit", tmp_path / "model")
    description = read_json(tmp_path / "model" / "model.json")
    assert (description["image_size"], description["network_size"]) == ([HEIGHT, WIDTH], [HEIGHT, WIDTH])
    assert description["check"]["difference"] < 1e-4

    classifier = Classifier.load(tmp_path / "model")
    photograph = sorted((catalog / "images").glob("*.jpg"))[0]
    lines: list[object] = []
    print_predictions([photograph], classifier, form="json", write=lines.append)
    (answer,) = classifier.classify(np.zeros((1, HEIGHT, WIDTH, 3), np.uint8))
    assert answer.label in classifier.class_names
    with TestClient(build_app(classifier, ServeConfig(workers=1)), base_url="http://localhost") as client:
        given = client.post("/v1/classify", content=photograph.read_bytes(), headers={"Content-Type": "image/jpeg"})
    assert given.status_code == 200
    assert given.json()["results"][0]["label"] in str(lines)
