"""Search products by words and by example: the features of their photographs, and the learned map to words, on disk.

Reading and searching needs neither Keras nor polars, so that the review can search too.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from hangtag.errors import SettingsError, WorkspaceError
from hangtag.io import read_json, write_json, write_whole
from hangtag.manifest import read_manifest, require_manifest
from hangtag.models.text import split_words
from hangtag.training.word_map import MIN_COUNT, Features, Floats, WordMap
from hangtag.workspace import Workspace

FEATURES, MAP, WORDS = "features.safetensors", "map.safetensors", "words.json"
SEARCH_FIRST = "Run `hangtag search WORDS` with this workspace again."
# The least probability of a word: a photograph without any sign of it is not excluded by a photograph with few.
LEAST = 1e-3
CHUNK = 8192
MOST_SPELLINGS = 3


@dataclass(frozen=True)
class SearchWords:
    """The words of a search.

    Attributes:
        known: The words that can be searched for.
        unknown: The words that no product name of the training split has.
        rare: The other words, which too few names have, with the number of these names.
    """

    known: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    rare: tuple[tuple[str, int], ...] = ()

    def describe_left_out(self) -> str:
        """Return sentences about the words that are not searched for; empty if there is none."""
        sentences = []
        if self.unknown:
            sentences.append(f"No product name of the training split has: {_quote(self.unknown)}.")
        if self.rare:
            counted = ", ".join(f"'{word}' ({count})" for word, count in self.rare)
            sentences.append(f"Fewer than {MIN_COUNT} product names of the training split have: {counted}.")
        return " ".join(sentences)


@dataclass(frozen=True)
class SearchIndex:
    """What `hangtag search` computes once for a run.

    Attributes:
        folder: The folder with the features.
        item_ids: The id of each of n items.
        map: The map from features to words.
    """

    folder: Path
    item_ids: tuple[str, ...]
    map: WordMap

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.map.words)}

    def read_words(self, text: str) -> SearchWords:
        """Split a text into the words of a search, as names are split.

        Raises:
            SettingsError: None of its words can be searched for.
        """
        words = tuple(dict.fromkeys(split_words(text)))
        counts = self.map.counts
        found = SearchWords(
            tuple(word for word in words if word in self._places),
            tuple(word for word in words if word not in counts),
            tuple((word, counts[word]) for word in words if word in counts and word not in self._places),
        )
        if found.known:
            return found
        if not self.map.words:
            raise SettingsError(
                f"No word is in the names of {MIN_COUNT} products of the training split, so none can be searched for.",
                hint="Search by an example: --image FILE.",
                received=text,
            )
        near = [each for word in words for each in difflib.get_close_matches(word, self.map.words, MOST_SPELLINGS)]
        raise SettingsError(
            found.describe_left_out() or "There is no word to search for.",
            allowed=f"Known words of near spelling: {_quote(list(dict.fromkeys(near)))}." if near else "",
            received=text,
        )

    def score_words(self, words: Sequence[str]) -> Floats:
        """Estimate how probably the name of a product with such a photograph has all words, float32 (n,).

        Words count as independent of each other, given the photograph. The estimates are linear: some exceed 1.
        """
        columns = [self._places[word] for word in words]
        weights, bias = self.map.weights[:, columns], self.map.bias[columns]
        parts = [np.clip(chunk @ weights + bias, LEAST, None).prod(axis=1) for chunk in self.iterate_features()]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def score_likeness(self, example: Floats) -> Floats:
        """Compute how similar all photographs are to an example, float32 (n,): (1 + cosine) / 2, 0 to 1.

        Args:
            example: The features of the example, float32 (d,).

        Raises:
            WorkspaceError: The example's features are those of another network.
        """
        if example.shape != self.map.mean.shape:
            raise WorkspaceError("The search index belongs to another network.", hint=SEARCH_FIRST)
        wanted = self._project(example[None])[0]
        parts = [(1 + self._project(chunk) @ wanted) / 2 for chunk in self.iterate_features()]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _project(self, features: Floats) -> Floats:
        projected = (features - self.map.mean) @ self.map.components
        return np.asarray(projected / np.linalg.norm(projected, axis=1, keepdims=True).clip(min=1e-12), np.float32)

    def iterate_features(self) -> Iterator[Floats]:
        """Yield the features of the items in chunks, so that a large catalogue needs little memory."""
        for start in range(0, len(self.item_ids), CHUNK):
            # A slice beyond the end is an error.
            yield self._features[start : min(start + CHUNK, len(self.item_ids))].astype(np.float32)

    @cached_property
    def _features(self) -> Any:
        # The file stays open: a file that another process writes in its place may belong to another map.
        file: Any = safe_open(self.folder / FEATURES, framework="numpy")
        return file.get_slice("features")


def rank_items(scores: Floats, is_wanted: npt.NDArray[np.bool_], limit: int) -> npt.NDArray[np.int64]:
    """Return the indices of the wanted items with the highest scores, the highest first; ties keep their order."""
    rows = np.flatnonzero(is_wanted)
    return np.asarray(rows[np.argsort(-scores[rows], kind="stable")[:limit]], np.int64)


def has_words(name: str | None, words: Sequence[str]) -> bool:
    """Return whether a product name has all of the words."""
    return set(words) <= set(split_words(name or ""))


def write_index(folder: Path, item_ids: Sequence[str], features: Features, learned: WordMap) -> list[Path]:
    """Write the index of a run to a folder; return the paths of its files."""
    paths = [folder / name for name in (FEATURES, MAP, WORDS)]
    arrays = {name: np.ascontiguousarray(getattr(learned, name)) for name in ("weights", "bias", "components", "mean")}
    for path, tensors in ((paths[0], {"features": np.ascontiguousarray(features)}), (paths[1], arrays)):
        with write_whole(path) as temporary:
            save_file(tensors, temporary)
    write_json(paths[2], {"item_ids": list(item_ids), "words": list(learned.words), "counts": learned.counts})
    return paths


def read_index(folder: Path) -> SearchIndex:
    """Read an index whose files have been checked against their manifest.

    Raises:
        WorkspaceError: A file is damaged, or the files do not fit each other.
    """
    try:
        found = read_json(folder / WORDS)
        arrays = load_file(folder / MAP)
        learned = WordMap(dict(found["counts"]), tuple(found["words"]), **arrays)
        index = SearchIndex(folder, tuple(found["item_ids"]), learned)
        shape = tuple(index._features.get_shape())
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WorkspaceError(
            f"The search index cannot be read: {error}.", hint=SEARCH_FIRST, received=folder.name
        ) from error
    if shape != (len(index.item_ids), len(learned.mean)) or learned.weights.shape != (shape[1], len(learned.words)):
        raise WorkspaceError("The files of the search index do not fit each other.", hint=SEARCH_FIRST)
    return index


def find_index(workspace: Workspace, prepared_digest: str) -> SearchIndex | None:
    """Return the latest index of the prepared catalogue in any run; None where there is none that can be used."""
    found = []
    for run_id in workspace.run_ids():
        manifest = read_manifest(workspace.search_index(run_id))
        if manifest is not None and manifest["inputs"].get("prepared") == prepared_digest:
            found.append((manifest["finished"], run_id))
    for _, run_id in sorted(found, reverse=True):
        folder = workspace.search_index(run_id)
        try:
            require_manifest(folder, SEARCH_FIRST)
            return read_index(folder)
        except WorkspaceError:
            continue
    return None


def _quote(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)
