"""Where the model looked is told of the label and of any other class, in Python, from the shell and over HTTP."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import COLORS, SIZE, draw, encode
from fastapi.testclient import TestClient
from PIL import Image

from hangtag import cli
from hangtag.config import ServeConfig
from hangtag.errors import ModelError
from hangtag.explain.feature_maps import OpenvinoFeatures
from hangtag.explain.heatmap import color_heatmap, lay_over
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import Failure, classify_photographs
from hangtag.serving.app import build_app
from hangtag.stages.classify import print_predictions
from hangtag.workspace import Workspace

PIXELS = np.stack([draw(kind, 700 + number) for number in range(2) for kind in COLORS])


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every exported model is of a kind that cannot tell."""
    monkeypatch.setattr(OpenvinoFeatures, "heads", ())


def test_a_run_and_its_export_look_at_the_same(trained_workspace: Workspace, classifier: Classifier) -> None:
    run = Classifier.load(trained_workspace.run("small"))
    for labels, level in ((None, None), ("Hat", None), ("Wear", "kind"), ("Summer", "season")):
        wanted, found = (each.explain(PIXELS, labels, level=level) for each in (run, classifier))
        assert found.shape == (len(PIXELS), *SIZE)
        assert str(found.dtype) == "float32"
        # The engine may compute in bfloat16.
        np.testing.assert_allclose(found, wanted, atol=0.1)


def test_what_is_predicted_is_explained_unless_another_class_is_named(classifier: Classifier) -> None:
    labels = classifier.predict_heads(PIXELS).choose_labels()["label"]
    np.testing.assert_array_equal(classifier.compute_heatmaps(PIXELS), classifier.compute_heatmaps(PIXELS, labels))
    assert not classifier.compute_heatmaps(PIXELS[:1], [None]).any()
    assert len(classifier.explain(PIXELS[:0], "Hat")) == 0


@pytest.mark.parametrize(
    ("labels", "level", "message"),
    [
        ("Cap", None, "no such class of label. Allowed: Hat, Shirt, Shoe"),
        ("Hat", "size", "no such level or attribute. Allowed: kind, type, label, season"),
        (["Hat"], None, "numbers of classes and photographs differ"),
    ],
)
def test_what_the_model_does_not_know_cannot_be_explained(
    labels: Any, level: str | None, message: str, classifier: Classifier
) -> None:
    with pytest.raises(ModelError, match=message):
        classifier.explain(PIXELS, labels, level=level)


@pytest.mark.usefixtures("blind")
def test_a_model_that_cannot_tell_says_so(classifier: Classifier, photographs: Path, tmp_path: Path) -> None:
    assert not classifier.can_explain
    with pytest.raises(ModelError, match="Heatmaps cannot be computed for this model"):
        print_predictions([photographs / "Hat.png"], classifier, explain=tmp_path / "heatmap", write=lambda _: None)
    assert not (tmp_path / "heatmap").exists()
    with TestClient(build_app(classifier, ServeConfig()), base_url="http://localhost") as client:
        assert client.get("/v1/model").json()["can_explain"] is False
        answer = client.post("/v1/classify?explain=true", files={"file": encode(PIXELS[0])})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "cannot_explain")


def test_a_map_has_the_proportions_of_the_photograph_not_of_the_frame(classifier: Classifier) -> None:
    wide = np.concatenate([PIXELS[0]] * 4, axis=1)
    contents = [encode(wide), b"none", encode(PIXELS[1])]
    found = list(classify_photographs(classifier, contents, explain=True))
    assert isinstance(found[1], Failure)
    shapes = [each.heatmap.shape for each in found if isinstance(each, Prediction) and each.heatmap is not None]
    # 48 x 16 pixels fill 12 x 4 of the frame's 12 x 16.
    assert shapes == [(4, 12), SIZE]
    plain = list(classify_photographs(classifier, contents))
    assert plain == found
    assert all(each.heatmap is None for each in plain if isinstance(each, Prediction))


def test_the_shell_writes_a_picture_each_and_never_over_another(
    model: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "heatmap"
    given = ["classify", str(photographs), "--model", str(model), "--explain", str(folder), "--json"]
    for _ in range(2):
        with pytest.raises(SystemExit) as left:
            cli.main(given)
        assert left.value.code == 0
    told = capsys.readouterr()
    assert "png" not in told.out.replace(".png", "")
    names = {path.name for path in folder.iterdir()}
    # Two photographs are called Shoe.
    wanted = {"Hat", "Hat-2", "Shirt", "Shirt-2", "noise", "noise-2", "Shoe", "Shoe-2", "Shoe-3", "Shoe-4"}
    assert names == {f"{name}.png" for name in wanted}
    with Image.open(folder / "Hat.png") as picture:
        assert (picture.size, picture.mode) == ((480, 640), "RGB")


def test_the_shell_explains_what_it_prints_alone(
    model: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["classify", str(photographs / "Hat.png"), "--model", str(model)]
    with pytest.raises(SystemExit) as left:
        cli.main([*given, "--explain", str(tmp_path / "heatmap"), "--output", str(tmp_path / "told.csv")])
    assert left.value.code == 2
    assert "--explain and --output cannot be used together." in capsys.readouterr().err


def test_the_service_tells_on_request(classifier: Classifier) -> None:
    files = [("file", ("hat.png", encode(draw("Hat", 1)))), ("file", ("text.png", b"none"))]
    with TestClient(build_app(classifier, ServeConfig()), base_url="http://localhost") as client:
        plain = client.post("/v1/classify", files=files).json()["results"]
        found = client.post("/v1/classify?explain=true", files=files).json()["results"]
        assert client.post("/v1/classify?explain=maybe", files=files).json()["error"]["code"] == "invalid"
        assert client.get("/v1/model").json()["can_explain"] is True
        described = client.get("/openapi.json").json()["paths"]["/v1/classify"]["post"]
    assert described["parameters"][0]["name"] == "explain"
    looked = found[0].pop("heatmap")
    assert found == plain
    assert looked["label"] == "Hat"
    with Image.open(io.BytesIO(base64.b64decode(looked["png"]))) as picture:
        assert (picture.size, picture.mode) == (SIZE[::-1], "RGBA")


def test_the_batcher_explains_only_the_photographs_of_who_asks(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hangtag.inference.streaming import classify_chunk

    asked: list[int] = []
    explain = Classifier.explain

    def note(self: Classifier, images: Any, *more: Any) -> Any:
        asked.append(len(images))
        return explain(self, images, *more)

    monkeypatch.setattr(Classifier, "explain", note)
    contents = [encode(each) for each in PIXELS]
    found = classify_chunk(classifier, contents, 0.95, explained=[1, 4])
    assert asked == [2]
    assert [isinstance(each, Prediction) and each.heatmap is not None for each in found] == [
        place in (1, 4) for place in range(6)
    ]


def test_colours_are_none_where_nothing_was_found_and_darkest_where_most() -> None:
    colors = color_heatmap(np.linspace(0, 1, 11, dtype=np.float32)[None])[0].astype(int)
    assert colors[0, 3] == 0
    assert (np.diff(colors[:, 3]) > 0).all()
    over = lay_over(np.full((8, 6, 3), 200, np.uint8), np.array([[0, 0], [0, 1]], np.float32)).astype(int)
    assert (over[0, 0] >= 198).all()
    assert over[-1, -1].sum() < over[0, 0].sum() - 200
