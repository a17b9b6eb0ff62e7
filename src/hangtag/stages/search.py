"""Stage `search`: find products by words or by an example photograph, from what their photographs show."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from hangtag.catalog.files import FileError, read_regular
from hangtag.catalog.images import PhotographError, decode_photograph, shrink
from hangtag.config import SearchConfig
from hangtag.errors import CatalogError, ModelError, SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import select_runs
from hangtag.inference.search import (
    SEARCH_FIRST,
    SearchIndex,
    SearchWords,
    has_words,
    rank_items,
    read_index,
    write_index,
)
from hangtag.inference.streaming import MAX_BYTES, MAX_PIXELS
from hangtag.labels.dataset import LabeledItems, read_labeled_items
from hangtag.lock import hold, sweep
from hangtag.manifest import StageRecord, require_manifest
from hangtag.models.checkpoint import hash_run
from hangtag.models.description import read_entries
from hangtag.models.layers import cut_backbone
from hangtag.training.linear_probe import compute_features
from hangtag.training.word_map import Features, Floats, learn_word_map
from hangtag.workspace import CHECKPOINT, Workspace

SPLIT = "train"


@dataclass(frozen=True)
class SearchResult:
    """The products that a search found.

    Attributes:
        table: A row for each, the best first: `rank`, `item_id`, `name`, `label`, `split`, `score`, and `named`,
            whether the name has all known words of the search (null without words). The score is the estimated
            probability that the name of a product with such a photograph has them all, times the similarity with an
            example photograph (see `SearchIndex`).
        words: The words that were searched for, and those that were left out.
        run_id: The run whose network describes the photographs.
        searched: The number of products that were compared.
    """

    table: pl.DataFrame
    words: SearchWords
    run_id: str
    searched: int


def search(
    workspace: str | Path | Workspace,
    query: str = "",
    config: SearchConfig = SearchConfig(),  # noqa: B008  (frozen)
    *,
    image: str | Path | None = None,
    run_id: str | None = None,
) -> SearchResult:
    """Find products whose first photograph shows what words describe, or looks like an example photograph.

    What words look like is learned from the product names of the training split alone. The features of all photographs
    and the map from them to words are computed once and kept in `runs/<run_id>/search/`.

    Args:
        workspace: A workspace with a finished run.
        query: Words; empty searches by `image` alone.
        config: Settings.
        image: An image file to search by; with words, both count.
        run_id: The run whose network describes the photographs; by default the one with the best accuracy on val.

    Raises:
        SettingsError: There is nothing to search for, or no word is known.
        WorkspaceError: There is no such run.
        CatalogError: The example cannot be read.
        ModelError: The network cannot be loaded, or has features that are not finite.
    """
    if not query.strip() and image is None:
        raise SettingsError("There is nothing to search for.", hint="Name words, or an example with --image FILE.")
    workspace = Workspace.at(workspace)
    content = None if image is None else _read_example(Path(image))
    sweep(workspace)
    chosen = choose_run(workspace, run_id)
    folder = workspace.search_index(chosen)
    reads = [workspace.prepared, workspace.labels, workspace.run(chosen)]
    with hold("search", workspace, reads=reads, writes=[folder]):
        labelled = read_labeled_items(workspace)
        index = open_index(workspace, chosen, labelled)
        words = index.read_words(query) if query.strip() else SearchWords()
        scores = np.ones(len(index.item_ids), np.float32)
        if words.known:
            scores *= index.score_words(words.known)
        if content is not None:
            example = _describe_example(workspace, chosen, labelled, content, str(image))
            scores *= index.score_likeness(example)
    return _select(labelled, scores, words, config, chosen)


def choose_run(workspace: Workspace, run_id: str | None) -> str:
    """Return the run to search with: `run_id`, else the one with the best accuracy on val.

    A run of earlier labels will do: its network describes photographs, and words are learned anew.

    Raises:
        WorkspaceError: There is no such finished run.
    """

    def rank(name: str) -> tuple[float, str]:
        return (float(read_entries(workspace.run(name)).get("metrics", {}).get("val_accuracy") or 0), name)

    return max(select_runs(workspace, None if run_id is None else [run_id]), key=rank)


def open_index(workspace: Workspace, run_id: str, labelled: LabeledItems) -> SearchIndex:
    """Return the search index of a run; it is computed if it is missing, damaged or outdated.

    The caller must hold the lock of its folder.
    """
    prepared = require_manifest(workspace.labels, SEARCH_FIRST)["inputs"]["prepared"]
    inputs = {"prepared": prepared, "labels": labelled.digest, f"runs/{run_id}": hash_run(workspace, run_id)}
    record = StageRecord("search", workspace.search_index(run_id), inputs, {})
    if record.load_if_unchanged() is None:
        features = _compute_features(workspace, run_id, labelled)
        table, name = labelled.table, labelled.schema.name
        rows = np.flatnonzero((table["split"] == SPLIT).fill_null(value=False).to_numpy())
        names = table[name].gather(rows).to_list() if name else [None] * len(rows)
        learned = learn_word_map(features, rows, names)
        paths = write_index(record.begin(), table["item_id"].to_list(), features, learned)
        record.finish({"items": len(table), "words": len(learned.words)}, paths, stale=[CHECKPOINT])
    return read_index(record.folder)


def _compute_features(workspace: Workspace, run_id: str, labelled: LabeledItems) -> Features:
    """Compute the features of the first photographs of all items, float16 (n, d); an interruption loses few.

    Raises:
        ModelError: The network cannot be loaded, or features are not finite.
    """
    classifier = Classifier.load(workspace.run(run_id))
    rows = labelled.table["image_index"].to_numpy().astype(np.int64)
    features = compute_features(
        workspace.search_index(run_id) / CHECKPOINT,
        cut_backbone(classifier.model),
        labelled.images,
        rows,
        np.zeros(len(rows), bool),
        image_size=classifier.network_size or classifier.image_size,
        title=f"Features of {run_id}",
    ).astype(np.float16)
    if not np.isfinite(features).all():
        raise ModelError(
            "The network's features are not finite for some photographs.",
            hint="Choose another run with --run.",
            received=run_id,
        )
    return features


def _read_example(path: Path) -> bytes:
    """Return the bytes of an image file; raise a `CatalogError` if it cannot be read."""
    try:
        return read_regular(path, MAX_BYTES)
    except FileError as error:
        raise CatalogError(f"The example of --image cannot be read: {error.reason}.", received=str(path)) from error
    except (OSError, ValueError) as error:
        raise CatalogError(
            "The example of --image cannot be read.", received=str(path), hint="Name an image file."
        ) from error


def _describe_example(workspace: Workspace, run_id: str, labelled: LabeledItems, content: bytes, name: str) -> Floats:
    """Return the features of an image file, float32 (d,), fitted to the size of the prepared photographs as these.

    Raises:
        CatalogError: It is no image.
    """
    fit = require_manifest(workspace.prepared, SEARCH_FIRST)["settings"].get("fit", "pad")
    height, width = labelled.images.shape[1:3]
    try:
        pixels = decode_photograph(content, (height, width), MAX_PIXELS, fit=fit).pixels
    except PhotographError as error:
        raise CatalogError(f"The example of --image cannot be read: {error.reason}.", received=name) from error
    classifier = Classifier.load(workspace.run(run_id))
    shrunk = shrink(pixels[None], classifier.network_size or classifier.image_size)
    found = cut_backbone(classifier.model).predict_on_batch({"pixels": shrunk})
    # As precise as those that it is compared with.
    features = np.concatenate([np.asarray(found[name])[0] for name in sorted(found)]).astype(np.float16)
    return features.astype(np.float32)


def _select(
    labelled: LabeledItems, scores: Floats, words: SearchWords, config: SearchConfig, run_id: str
) -> SearchResult:
    """Return the items with the highest scores, of the wanted split and names."""
    table, heading = labelled.table, labelled.schema.name
    names = table[heading].cast(pl.String) if heading else pl.Series([None] * len(table), dtype=pl.String)
    named = [has_words(name, words.known) if words.known else None for name in names.to_list()]
    wanted = np.ones(len(table), bool)
    if config.split != "all":
        wanted &= (table["split"] == config.split).fill_null(value=False).to_numpy()
    if config.unnamed:
        wanted &= np.array([each is not True for each in named], bool)
    rows = rank_items(scores, wanted, config.limit)
    found = pl.DataFrame(
        {
            "rank": range(1, len(rows) + 1),
            "item_id": table["item_id"].gather(rows),
            "name": names.gather(rows).fill_null(""),
            "label": table["label"].gather(rows),
            "split": table["split"].gather(rows).cast(pl.String).fill_null(""),
            "score": pl.Series(scores[rows].clip(0, 1), dtype=pl.Float64).round(4),
            "named": pl.Series([named[row] for row in rows], dtype=pl.Boolean),
        }
    )
    return SearchResult(found, words, run_id, int(wanted.sum()))
