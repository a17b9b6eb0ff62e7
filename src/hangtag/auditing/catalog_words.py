"""Describe the summary of a catalogue in plain sentences: what `check` prints, and what the pages show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hangtag.auditing.catalog_summary import (
    COMBINATION,
    CONFLICT,
    LESS_SURE,
    PICTURE,
    REPEATED,
    SPELLING,
    VALUE,
    WRONG,
)
from hangtag.auditing.evidence import FEW_PRODUCTS, NO_CATEGORY, NOT_COMPARED, TRAINED_ON, UNKNOWN_CATEGORY, UNLIKE
from hangtag.results import count_of, make_relative

# What the kinds mean, of products: `3 ...`.
KINDS_OF_PRODUCTS = {
    WRONG: "in a category that looks wrong",
    LESS_SURE: "in a category that may be wrong: less sure",
    VALUE: "with another value that looks wrong",
    CONFLICT: "with the photograph of a product of another category",
    COMBINATION: "with an unusual combination of values",
    SPELLING: "with a value that is spelled in two ways",
    PICTURE: "with a photograph that shows no clear product",
    REPEATED: "with the photograph of another product",
}
# Why a category could not be checked, of products: `3 ...`.
NOT_JUDGED = {
    NO_CATEGORY: "without a category",
    UNKNOWN_CATEGORY: "of categories that hangtag's own model does not know",
    UNLIKE: "with a photograph unlike those that hangtag's own model knows",
    TRAINED_ON: "that the model has learned from, so that it would only repeat their category",
    FEW_PRODUCTS: "of categories with too few products to compare with",
    NOT_COMPARED: "with nothing to compare them with",
}
# What the codes of rejected.csv mean, for people; other codes are shown as they are.
REJECTED = {
    "bad_row": "lines of the table that cannot be read without doubt",
    "skipped_row": "rows that are no products",
    "missing_id": "rows without an id",
    "duplicate_id": "rows with the id of an earlier row",
    "shared_photograph": "photographs that many products share, such as a size chart",
    "missing_photograph": "photographs that are not there",
    "url_not_allowed": "photographs at an address that is not downloaded from",
    "download_failed": "photographs that could not be downloaded",
    "download_timeout": "photographs whose download took too long",
    "unused_photograph": "photographs that no row names",
    "unreadable_file": "files that cannot be read",
    "empty_file": "photographs without content",
    "too_many_bytes": "photographs with too many bytes",
    "too_many_pixels": "photographs with too many pixels",
    "not_an_image": "files that are no photographs",
    "truncated": "damaged photographs",
}
# With fewer products a training finds less than the model that hangtag comes with.
ENOUGH_TO_TRAIN = 1000
# The categories that one sentence names.
MOST_NAMED = 5
# What the audit says where no category of the catalogue is one of the model's, and before other reasons why the model
# that hangtag comes with cannot be used.
NONE_KNOWN = "has none of the catalogue's categories"
NOT_FITTING = "The model that hangtag comes with does not fit: "


def describe_findings(summary: Mapping[str, Any]) -> list[str]:
    """Return how many categories look wrong, how sure that is, and what could not be checked, in sentences.

    Args:
        summary: What `reporting.audited_catalog.summarize` returns.
    """
    first = filter(None, (describe_headline(summary), describe_less_sure(summary)))
    return [*first, *describe_estimates(summary), *describe_gaps(summary, names_flags=False)]


def describe_headline(summary: Mapping[str, Any]) -> str:
    """Return the sentence about the categories that look wrong."""
    wrong, judged = summary["wrong_categories"], summary["judged"]
    if not judged:
        return "No category could be checked."
    if not wrong:
        return f"No category looks wrong, of {count_of(judged, 'product')} that could be checked."
    look = "product looks as if it is" if wrong == 1 else "products look as if they are"
    return f"{wrong:,} {look} in a wrong category, of {judged:,} that could be checked."


def describe_less_sure(summary: Mapping[str, Any]) -> str:
    """Return the sentence about the less sure suspicions; empty where there are none."""
    less_sure = summary["less_sure"]
    verb, pronoun = ("is", "it") if less_sure == 1 else ("are", "them")
    return f"{less_sure:,} more {verb} less sure; the review shows {pronoun} too." if less_sure else ""


def describe_estimates(summary: Mapping[str, Any]) -> list[str]:
    """Return how many categories are wrong by estimate, and how many suspicions are right."""
    if not (summary["judged"] and summary["wrong_categories"]):
        return []
    return [text for text in (_describe_share(summary["wrong_share"]), _describe_first(summary)) if text]


def _describe_share(share: Mapping[str, Any]) -> str:
    if "unknown" in share:
        return f"How many mistakes there are beside these suspicions cannot be estimated: {share['unknown']}."
    if share["expected"] is None:
        return f"Estimate for all products: {share['low']:.1%} or more of the categories are wrong."
    return (
        f"Estimate for all products: about {share['expected']:.1%} of the categories are wrong (between "
        f"{share['low']:.1%} and {share['high']:.1%})."
    )


def _describe_first(summary: Mapping[str, Any]) -> str:
    right, wrong = summary["expected_right"], summary["wrong_categories"]
    if not right or not 0 < right["issues"] <= wrong:
        return ""
    verb = "is a real mistake" if f"{right['expected']:.0f}" == "1" else "are real mistakes"
    which = "them" if right["issues"] == wrong else f"the first {right['issues']:,}"
    return (
        f"Not every suspicion is right: about {right['expected']:.0f} of {which} {verb} by estimate "
        f"(between {right['low']:,} and {right['high']:,})."
    )


def _describe_not_judged(summary: Mapping[str, Any]) -> list[str]:
    """Return why products could not be checked; with those that could be, they are all products."""
    counts = summary["not_judged"]
    if not counts:
        return []
    reasons = [f"{count:,} {NOT_JUDGED[reason]}" for reason, count in counts.items()]
    return [f"{count_of(sum(counts.values()), 'product')} could not be checked: {'; '.join(reasons)}."]


def describe_gaps(summary: Mapping[str, Any], *, names_flags: bool = True) -> list[str]:
    """Return what could not be checked, and why; what to type for that only with `names_flags`."""
    gaps = summary["not_compared"]
    lines = _describe_not_judged(summary)
    is_none_known = gaps["photographs"] and NONE_KNOWN in gaps["photographs"]
    if count := gaps["products_of_other_categories"]:
        lines.append(
            f"{count_of(count, 'product')} could not be compared with a photograph: hangtag's own model does not know "
            f"their categories: {_list_unknown(gaps)}."
        )
    elif is_none_known:
        lines.append(
            "The photographs were not compared: hangtag's own model knows none of your categories by their names: "
            f"{_list_unknown(gaps)}."
        )
    if names_flags and (count or is_none_known):
        found, own = (make_relative(Path(gaps[key])) for key in ("mapping", "own_mapping"))
        lines.append(
            f"If it knows one of them by another name: copy {found} to {own}, write that name beside it (those of "
            f"{found.replace('category_mapping', 'model_classes')}), and check again."
        )
    if gaps["unlike_model"]:
        lines.append(
            "Most photographs are unlike those that hangtag's own model knows, and were not compared."
            + (
                " --train learns from your own photographs."
                if names_flags and summary["products"] >= ENOUGH_TO_TRAIN
                else ""
            )
        )
    lines += [
        f"The {what} were not compared. {gaps[what].rpartition(NOT_FITTING)[2]}".replace("`", "")
        for what in ("photographs", "names")
        if gaps[what] and not (what == "photographs" and is_none_known)
    ]
    return lines


def _list_unknown(gaps: Mapping[str, Any]) -> str:
    unknown = gaps["unknown_categories"]
    names = [f"{each['category']} ({each['products']:,})" for each in unknown[:MOST_NAMED]]
    more = len(unknown) - MOST_NAMED
    return f"{', '.join(names)} and {more:,} more" if more > 0 else ", ".join(names)


def name_reason(code: str) -> str:
    """Return what a code of rejected.csv means."""
    return REJECTED.get(code, code.replace("_", " "))
