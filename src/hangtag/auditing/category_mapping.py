"""Map a catalogue's categories to those of a model that another catalogue made, by their names and the model's tree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.evidence import read_values
from hangtag.auditing.value_issues import fold
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace, Probs


@dataclass(frozen=True)
class CategoryMapping:
    """How the categories of a catalogue stand to a model's products.

    Attributes:
        outputs: The catalogue's mapped categories as products, in its own words.
        given: The product of each item, int64 (n,); `NO_VALUE` where its category is not mapped.
        members: Whether each of the model's products belongs to each mapped category, bool (model products, products).
        table: For people, a line a category: its values, `items`, and `model_level` and `model_class`, null where
            the model knows no such thing.
    """

    outputs: LabelSpace
    given: Indices
    members: npt.NDArray[np.bool_]
    table: pl.DataFrame

    def convert(self, products: Probs, given: Indices) -> Probs:
        """Return the probabilities of the mapped categories, float32 (k, products), from those of the model's products.

        Each of the model's products counts for the narrowest category that it belongs to, so a row may add up to less
        than 1. What speaks for a narrower category speaks for the wider one that an item is given, too: whoever says
        Shoes of sports shoes is not wrong.

        Args:
            products: float32 (k, model products).
            given: The mapped category of each of these items, int64 (k,).
        """
        sizes = self.members.sum(axis=0)
        narrowest = np.where(self.members, sizes, self.members.shape[0] + 1).argmin(axis=1)
        belongs = self.members & (np.arange(self.members.shape[1]) == narrowest[:, None])
        probs = products @ belongs.astype(np.float32)
        for wide in np.unique(given[given != NO_VALUE]).tolist():
            inside = (self.members & self.members[:, [wide]]).sum(axis=0) == sizes
            inside[wide] = False
            rows = np.flatnonzero(given == wide)
            if inside.any():
                probs[rows, wide] += probs[np.ix_(rows, np.flatnonzero(inside))].sum(axis=1)
                probs[np.ix_(rows, np.flatnonzero(inside))] = 0
        return np.asarray(probs, np.float32)


def map_categories(
    items: pl.DataFrame, levels: Sequence[str], missing: Sequence[str], model: LabelSpace
) -> CategoryMapping:
    """Map every category of a catalogue to a class of one of the model's levels.

    Names are compared without capitals, signs and grammatical endings. The catalogue's finest value that the model
    knows decides; where the model has the name on several levels, the widest of these classes. So a category that
    only its parent's name maps is evaluated by the parent. Categories that map to one class are one.

    Args:
        items: The table of items.
        levels: The catalogue's label columns, coarse to fine.
        missing: The spellings of a missing value.
        model: What the model predicts.
    """
    own = items.select(read_values(level, missing) for level in levels)
    # What has no value at all is no category.
    named = own.filter(pl.any_horizontal(pl.col(levels).is_not_null()))
    counted = named.group_by(list(levels)).agg(items=pl.len())
    categories = counted.sort("items", *levels, descending=True, nulls_last=True)
    classes = _list_classes(model)
    found = [_match_category(values[:-1], classes) for values in categories.iter_rows()]
    # The commonest category of those that map to one class names it, of those that lack the fewest levels.
    lacking = categories.select(pl.sum_horizontal(pl.col(levels).is_null())).to_series().to_list()
    nodes = list(dict.fromkeys(match for match in found if match is not None))
    firsts = [min((lacking[row], row) for row, match in enumerate(found) if match == node)[1] for node in nodes]
    outputs = _build_outputs(categories, levels, firsts)
    indices = [NO_VALUE if match is None else nodes.index(match) for match in found]
    known = categories.select(levels).with_columns(path=pl.Series(indices, dtype=pl.Int64))
    given = own.join(known, on=list(levels), how="left", nulls_equal=True, maintain_order="left")["path"]
    members = np.zeros((len(model.category_paths), len(nodes)), bool)
    for index, (level, name) in enumerate(nodes):
        members[:, index] = model.list_classes(level) == model.levels[level].index(name)
    table = categories.with_columns(
        model_level=pl.Series([None if match is None else match[0] for match in found], dtype=pl.String),
        model_class=pl.Series([None if match is None else match[1] for match in found], dtype=pl.String),
    )
    return CategoryMapping(outputs, given.fill_null(NO_VALUE).to_numpy().copy(), members, table)


def _list_classes(model: LabelSpace) -> dict[str, tuple[str, str]]:
    """Return the model's level and class by the folded name, the widest class where several have it."""
    widths: dict[str, tuple[int, tuple[str, str]]] = {}
    for level, names in model.levels.items():
        counts = np.bincount(model.list_classes(level) + 1, minlength=len(names) + 1)[1:]
        for name, count in zip(names, counts.tolist(), strict=True):
            key = fold(name)
            if key not in widths or count > widths[key][0]:
                widths[key] = (count, (level, name))
    return {key: match for key, (_, match) in widths.items()}


def _match_category(values: Sequence[str | None], classes: dict[str, tuple[str, str]]) -> tuple[str, str] | None:
    for value in reversed(values):
        if value is not None and (match := classes.get(fold(value))):
            return match
    return None


def _build_outputs(categories: pl.DataFrame, levels: Sequence[str], firsts: Sequence[int]) -> LabelSpace:
    chosen = categories[list(firsts)]
    names = {level: tuple(chosen[level].drop_nulls().unique().sort().to_list()) for level in levels}
    products = tuple(
        tuple(
            NO_VALUE if value is None else names[level].index(value) for level, value in zip(levels, row, strict=True)
        )
        for row in chosen.select(levels).iter_rows()
    )
    return LabelSpace(names, products, {}, levels[-1])
