"""The rules that turn a catalogue's levels into one label, as data."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import polars as pl

from hangtag.catalog.files import read_regular
from hangtag.catalog.missing_values import UNKNOWN
from hangtag.errors import CatalogError
from hangtag.io import JsonObject

# What each rule may say beside its name; True where it must.
RULES: dict[str, dict[str, bool]] = {
    "start": {"level": True, "or_coarser": False},
    "merge": {"labels": True, "into": True},
    "promote": {"level": True, "within": False, "min_count": False, "min_share": False},
    "drop_rare": {"max_count": True},
    "relabel": {"labels": True},
}
KINDS: dict[str, type | tuple[type, ...]] = {
    "level": str,
    "or_coarser": bool,
    "within": str,
    "min_count": int,
    "min_share": (int, float),
    "max_count": int,
    "labels": list,
    "into": str,
}
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Taxonomy:
    """Label rules in the order they apply.

    Attributes:
        name: What it is called.
        rules: Mappings with `rule` and that rule's entries; see docs/data.md.
    """

    name: str
    rules: tuple[JsonObject, ...]

    @property
    def ambiguous_labels(self) -> tuple[str, ...]:
        """The labels whose items are to be matched to other labels."""
        return tuple(label for rule in self.rules if rule["rule"] == "relabel" for label in rule["labels"])


def load_taxonomy(
    name: str, text: str, levels: tuple[str, ...], by_heading: Mapping[str, str] | None = None
) -> Taxonomy:
    """Read a taxonomy: `text` where it is given, else a shipped one or a TOML file by its name.

    Level names are checked against `levels`; `coarsest` and `finest` stand for the first and the last.

    Args:
        name: A shipped taxonomy or a file; for messages where there is a text.
        text: TOML, or empty.
        levels: The catalogue's label levels, by the names of hangtag's tables.
        by_heading: The names of hangtag's tables by those that the rules may use.

    Raises:
        CatalogError: There is no such taxonomy, or a rule of it cannot be applied.
    """
    try:
        content = tomllib.loads(text or read_taxonomy_text(name))
    except RecursionError as error:
        raise CatalogError("The taxonomy is nested too deeply.", received=name) from error
    except ValueError as error:
        # Beside TOMLDecodeError, which is one: numbers of thousands of digits.
        raise CatalogError(f"The taxonomy is not TOML: {error}.", received=name) from error
    rules = content.get("rules")
    found = rules if isinstance(rules, list) and all(isinstance(rule, dict) for rule in rules) else []
    if not found or found[0].get("rule") != "start":
        raise CatalogError(
            "The taxonomy has no usable rules.",
            allowed="Allowed: [[rules]] tables, the first with rule = 'start'.",
            received=name,
        )
    return Taxonomy(
        str(content.get("name", name)), tuple(_check_rule(rule, levels, by_heading or {}) for rule in found)
    )


def list_taxonomies() -> list[str]:
    """Return the names of the shipped taxonomies."""
    folder = resources.files("hangtag.labels") / "taxonomies"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def read_taxonomy_text(name: str) -> str:
    """Return the text of a shipped taxonomy or of a TOML file.

    Raises:
        CatalogError: There is no such taxonomy.
    """
    if name in list_taxonomies():
        return (resources.files("hangtag.labels") / "taxonomies" / f"{name}.toml").read_text(encoding="utf-8")
    try:
        return read_regular(name, MAX_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        allowed = f"Allowed: {', '.join(list_taxonomies())}, or a TOML file."
        raise CatalogError("There is no such taxonomy.", allowed=allowed, received=name) from error


def _check_rule(rule: JsonObject, levels: tuple[str, ...], by_heading: Mapping[str, str]) -> JsonObject:
    kind = rule.get("rule")
    entries = set(rule) - {"rule"}
    if not isinstance(kind, str) or kind not in RULES or not entries <= set(RULES[kind]):
        raise CatalogError(
            "The taxonomy has a rule that hangtag does not know.",
            allowed="Allowed: " + "; ".join(f"{name} ({', '.join(keys)})" for name, keys in RULES.items()) + ".",
            received=rule,
        )
    missing = [key for key, needed in RULES[kind].items() if needed and key not in rule]
    if missing or (kind == "promote" and not entries & {"min_count", "min_share"}):
        raise CatalogError(f"A {kind} rule of the taxonomy lacks an entry.", received=rule)
    labels = rule.get("labels", [])
    if any(not isinstance(rule[key], KINDS[key]) for key in entries) or not all(
        isinstance(each, str) for each in labels
    ):
        raise CatalogError(
            f"A {kind} rule of the taxonomy has an entry of a wrong kind.",
            allowed="Allowed: texts for levels, a list of texts for labels, true or false for or_coarser, numbers for "
            "the rest.",
            received=rule,
        )
    names = {**by_heading, "coarsest": levels[0], "finest": levels[-1]}
    checked = {key: names.get(value, value) if key in ("level", "within") else value for key, value in rule.items()}
    for key in ("level", "within"):
        if checked.get(key, levels[0]) not in levels:
            headings = {column: heading for heading, column in by_heading.items()}
            allowed = f"Allowed: {', '.join(headings.get(level, level) for level in levels)}, coarsest, finest."
            raise CatalogError("The taxonomy names a level that the catalogue lacks.", allowed=allowed, received=rule)
    if "or_coarser" in checked:
        # The levels themselves, for it is only here that they are known.
        coarser = levels[: levels.index(checked["level"])] if checked["or_coarser"] else ()
        checked["or_coarser"] = [*reversed(coarser)]
    return checked


def apply_rules(items: pl.DataFrame, taxonomy: Taxonomy) -> pl.Series:
    """Return each item's label by the rules before any relabelling; null where a rule drops the item.

    See `find_merged` for the labels that were merged into others.

    A missing cell is no value: it becomes no label, is counted for none, and is not rare. An item that starts with one
    is `Unknown`, unless another level of its own is promoted, or the rule takes the next coarser level (`or_coarser`).

    Args:
        items: The catalogue's rows with its level columns as text, null where a cell is missing.
        taxonomy: The rules.
    """
    return _apply_rules(items, taxonomy)[0]


def find_merged(items: pl.DataFrame, taxonomy: Taxonomy) -> pl.Series:
    """Return the label that each item had before rules merged it into another, null where none did."""
    return _apply_rules(items, taxonomy)[1]


def _apply_rules(items: pl.DataFrame, taxonomy: Taxonomy) -> tuple[pl.Series, pl.Series]:
    """Return each item's label, and the one before it was merged."""
    label = pl.Series("label", [None] * len(items), dtype=pl.String)
    merged = label.alias("merged")
    for rule in taxonomy.rules:
        table = items.with_columns(label=label)
        match rule["rule"]:
            case "start":
                known = pl.coalesce(rule["level"], *rule.get("or_coarser", []), pl.lit(UNKNOWN))
                label = table.select(known.alias("label"))["label"]
            case "promote":
                common = _find_common(table, rule)
                promoted = pl.when(pl.col(rule["level"]).is_in(common)).then(pl.col(rule["level"]))
                label = table.select(promoted.otherwise(pl.col("label")).alias("label"))["label"]
            case "merge":
                # Items without a label are none of a label called `Unknown`.
                is_merged = pl.col("label").is_in(rule["labels"]) & ~pl.col("label").is_in([UNKNOWN, rule["into"]])
                before = pl.coalesce("merged", pl.when(is_merged).then(pl.col("label")))
                merged = table.with_columns(merged=merged).select(merged=before)["merged"]
                label = table.select(label=pl.when(is_merged).then(pl.lit(rule["into"])).otherwise(pl.col("label")))[
                    "label"
                ]
            case "drop_rare":
                rare = (pl.len().over("label") <= rule["max_count"]) & (pl.col("label") != UNKNOWN)
                label = table.select(pl.when(~rare).then(pl.col("label")).alias("label"))["label"]
    return label, merged


def _find_common(table: pl.DataFrame, rule: JsonObject) -> list[str]:
    """Return the values of a level that reach the wanted count inside any one value of the coarser level."""
    keys = [rule["within"], rule["level"]] if "within" in rule else [rule["level"]]
    wanted = max(rule.get("min_count", 0), rule.get("min_share", 0.0) * len(table))
    counts = table.drop_nulls(keys).group_by(keys).len("count").filter(pl.col("count") >= wanted)
    return [str(value) for value in counts[rule["level"]].unique()]
