"""Map a catalogue's categories to those of a model that another catalogue made, by their names and the model's tree."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.evidence import read_values
from hangtag.auditing.value_issues import fold
from hangtag.errors import SettingsError
from hangtag.labels.public_taxonomy import Category, read_matches, read_named_file
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace, Probs

# The columns of the table with the match of each category.
MODEL_LEVEL, MODEL_CLASS = "model_level", "model_class"
FLAG = "--category-mapping"
# The level and the class of a model.
Node = tuple[str, str]


@dataclass(frozen=True)
class CategoryMapping:
    """Which of a model's category paths belong to each category of a catalogue.

    Attributes:
        label_space: The label space of the mapped categories, by the catalogue's own names.
        given: The mapped category of each item, int64 (n,); `NO_VALUE` where its category is not mapped.
        members: Whether each of the model's category paths belongs to each mapped category, bool (paths, categories).
        table: A row for each category, for people: its values, `items`, and `model_level` and `model_class`, null where
            the model has no such class.
    """

    label_space: LabelSpace
    given: Indices
    members: npt.NDArray[np.bool_]
    table: pl.DataFrame

    def convert(self, pred_probs: Probs, given: Indices) -> Probs:
        """Convert probabilities of the model's category paths to those of the mapped categories.

        Each of the model's paths counts for the narrowest category that it belongs to, so a row may add up to less than
        1. The probability of narrower categories also counts for the wider one that an item is given: a prediction of
        sports shoes does not contradict the label Shoes.

        Args:
            pred_probs: float32 (k, model paths).
            given: The mapped category of each of these items, int64 (k,).

        Returns:
            float32 (k, categories).
        """
        sizes = self.members.sum(axis=0)
        narrowest = np.where(self.members, sizes, self.members.shape[0] + 1).argmin(axis=1)
        belongs = self.members & (np.arange(self.members.shape[1]) == narrowest[:, None])
        probs = pred_probs @ belongs.astype(np.float32)
        for wide in np.unique(given[given != NO_VALUE]).tolist():
            inside = (self.members & self.members[:, [wide]]).sum(axis=0) == sizes
            inside[wide] = False
            rows = np.flatnonzero(given == wide)
            if inside.any():
                probs[rows, wide] += probs[np.ix_(rows, np.flatnonzero(inside))].sum(axis=1)
                probs[np.ix_(rows, np.flatnonzero(inside))] = 0
        return np.asarray(probs, np.float32)


def map_categories(
    items: pl.DataFrame,
    levels: Sequence[str],
    missing: Sequence[str],
    model: LabelSpace,
    by_hand: Mapping[Category, Node | None] | None = None,
) -> CategoryMapping:
    """Map every category of a catalogue to a class of one of the model's levels.

    Names are compared without capitals, signs and grammatical endings. A category is mapped by the finest of its values
    that is a class of the model; if the model has the name on several levels, by the widest of these classes. So a
    category that is mapped by its parent's name is checked against the parent. Categories of the same class are merged.

    Args:
        items: The table of items.
        levels: The catalogue's label columns, coarse to fine.
        missing: The spellings of a missing value.
        model: The label space of the model.
        by_hand: The matches of some categories that a person chose, None for no class; see `read_category_mapping`.

    Raises:
        SettingsError: A category of `by_hand` is none of the catalogue's.
    """
    own = items.select(read_values(level, missing) for level in levels)
    # Items without any value have no category.
    named = own.filter(pl.any_horizontal(pl.col(levels).is_not_null()))
    counted = named.group_by(list(levels)).agg(items=pl.len())
    categories = counted.sort("items", *levels, descending=True, nulls_last=True)
    classes = _list_classes(model)
    chosen = by_hand or {}
    found = [
        chosen[values] if values in chosen else _match_category(values, classes)
        for values in categories.select(levels).iter_rows()
    ]
    if strange := chosen.keys() - set(categories.select(levels).iter_rows()):
        raise SettingsError(
            f"{FLAG} has a category that the catalogue does not have.",
            allowed="Allowed: rows of audit/category_mapping.csv with another model_class.",
            received=" > ".join(value or "" for value in min(strange, key=str)),
        )
    # Of the categories of one class, those with the fewest missing levels, and of these the commonest, names it.
    lacking = categories.select(pl.sum_horizontal(pl.col(levels).is_null())).to_series().to_list()
    nodes = list(dict.fromkeys(match for match in found if match is not None))
    firsts = [min((lacking[row], row) for row, match in enumerate(found) if match == node)[1] for node in nodes]
    label_space = _build_label_space(categories, levels, firsts)
    indices = [NO_VALUE if match is None else nodes.index(match) for match in found]
    known = categories.select(levels).with_columns(category_path=pl.Series(indices, dtype=pl.Int64))
    given = own.join(known, on=list(levels), how="left", nulls_equal=True, maintain_order="left")["category_path"]
    members = np.zeros((len(model.category_paths), len(nodes)), bool)
    for index, (level, name) in enumerate(nodes):
        members[:, index] = model.list_classes(level) == model.levels[level].index(name)
    table = categories.with_columns(
        pl.Series(name, [None if match is None else match[part] for match in found], dtype=pl.String)
        for part, name in enumerate((MODEL_LEVEL, MODEL_CLASS))
    )
    return CategoryMapping(label_space, given.fill_null(NO_VALUE).to_numpy().copy(), members, table)


def read_category_mapping(
    path: Path, levels: Sequence[str], headings: Mapping[str, str], model: LabelSpace
) -> dict[Category, Node | None]:
    """Read matches that a person chose: an edited copy of `audit/category_mapping.csv`, or an Excel workbook of it.

    Rows may be left out. An empty class means that the model has none for the category. An empty level stands for any
    level: the widest class of that name.

    Args:
        path: The table.
        levels: The catalogue's label columns, coarse to fine.
        headings: The headings of these columns in the catalogue and in the table.
        model: The label space of the model.

    Raises:
        SettingsError: The file cannot be read, has no such columns, a line that is no row, a category twice, or a class
            that the model does not have.
        CatalogError: It is no table.
    """
    classes = _list_classes(model)
    matches: dict[Category, Node | None] = {}
    columns = [*(headings.get(level, level) for level in levels), MODEL_LEVEL, MODEL_CLASS]
    for where, (*values, level, name) in read_matches(path, FLAG, columns):
        category = tuple(value or None for value in values)
        if category in matches:
            received = " > ".join(value or "" for value in category)
            raise SettingsError(f"{where} has a category that stands above.", received=received)
        matches[category] = _find_node(level, name, classes, model, where)
    return matches


def hash_category_mapping(path: Path) -> str:
    """Return the hash of the file of `read_category_mapping`; raise a `SettingsError` if it cannot be read."""
    return hashlib.sha256(read_named_file(path, FLAG)).hexdigest()


def _find_node(level: str, name: str, classes: Mapping[str, Node], model: LabelSpace, where: str) -> Node | None:
    if not name:
        return None
    if level and level not in model.levels:
        raise SettingsError(
            f"{where} has a {MODEL_LEVEL} that the model does not have.",
            allowed=f"Allowed: {', '.join(model.levels)}; or an empty cell.",
            received=level,
        )
    if level and name in model.levels[level]:
        return level, name
    if not level and (node := classes.get(fold(name))):
        return node
    raise SettingsError(
        f"{where} has a {MODEL_CLASS} that the model does not have.",
        allowed="Allowed: those of audit/model_classes.csv; or an empty cell for a category that is not judged.",
        received=f"{level} > {name}" if level else name,
    )


def tabulate_classes(model: LabelSpace) -> pl.DataFrame:
    """Return the model's classes to choose from, coarse to fine: `model_level` and `model_class`."""
    rows = [(level, name) for level, names in model.levels.items() for name in names]
    return pl.DataFrame(rows, schema={MODEL_LEVEL: pl.String, MODEL_CLASS: pl.String}, orient="row")


def _list_classes(model: LabelSpace) -> dict[str, Node]:
    """Return the model's level and class by the normalized name, the widest class where several have it."""
    widths: dict[str, tuple[int, Node]] = {}
    for level, names in model.levels.items():
        counts = np.bincount(model.list_classes(level) + 1, minlength=len(names) + 1)[1:]
        for name, count in zip(names, counts.tolist(), strict=True):
            key = fold(name)
            if key not in widths or count > widths[key][0]:
                widths[key] = (count, (level, name))
    return {key: match for key, (_, match) in widths.items()}


def _match_category(values: Category, classes: Mapping[str, Node]) -> Node | None:
    for value in reversed(values):
        if value is not None and (match := classes.get(fold(value))):
            return match
    return None


def _build_label_space(categories: pl.DataFrame, levels: Sequence[str], firsts: Sequence[int]) -> LabelSpace:
    chosen = categories[list(firsts)]
    names = {level: tuple(chosen[level].drop_nulls().unique().sort().to_list()) for level in levels}
    paths = tuple(
        tuple(
            NO_VALUE if value is None else names[level].index(value) for level, value in zip(levels, row, strict=True)
        )
        for row in chosen.select(levels).iter_rows()
    )
    return LabelSpace(names, paths, {}, levels[-1])
