"""Describe the summary of `hangtag check` in words for people who never trained a model, for terminal and browser."""

import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hangtag.results import NO_BREAK_SPACE, WIDTH, fold, make_relative
from hangtag.results import count_of as _count

# What the codes of rejected.csv mean, for the summary of a check; other codes are shown as they are.
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
MOST_REASONS = 5
# With fewer products a training finds less than the model that hangtag comes with.
ENOUGH_TO_TRAIN = 1000
# What the audit says where no category of the catalogue is one of the model's, and before other reasons why the model
# that hangtag comes with cannot be used.
NONE_KNOWN = "has none of the catalogue's categories"
NOT_FITTING = "The model that hangtag comes with does not fit: "


def describe_check(summary: Mapping[str, Any], workspace: Path, catalog: str) -> str:
    """Format the summary of a check as plain text.

    Args:
        summary: What `hangtag.check` returns.
        workspace: The workspace as the user typed it.
        catalog: The catalogue as the user typed it.
    """
    parts = [
        _describe_reading(summary),
        _describe_wrong(summary),
        _describe_places(summary),
        _describe_examples(summary),
        _describe_next(summary, workspace, catalog),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _describe_reading(summary: Mapping[str, Any]) -> list[str]:
    lines = [f"Read: {_count(summary['products'], 'product')} with {_count(summary['photographs'], 'photograph')}."]
    not_read = summary["not_read"]
    if not_read["reasons"]:
        lines.append(fold(f"Not used, each with its reason in {make_relative(Path(not_read['file']))}:"))
        lines += [f"  {each['count']:>7,}  {name_reason(each['code'])}" for each in not_read["reasons"][:MOST_REASONS]]
        if more := sum(each["count"] for each in not_read["reasons"][MOST_REASONS:]):
            lines.append(f"  {more:>7,}  others")
    columns = summary["columns"]
    if columns["file"]:
        name = f", names in {columns['name']}" if columns["name"] else ""
        lines.append(
            fold(
                f"The columns were taken for this: ids in {columns['id']}{name}, categories in "
                f"{' > '.join(columns['categories'])}, photographs in {columns['photographs']}. If that is wrong, "
                f"change {make_relative(Path(columns['file']))} and check again."
            )
        )
    return lines


def describe_for_page(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a page shows of a summary beside its numbers.

    Returns:
        `headline` and `less_sure` (sentences), `changes` (a sentence; empty where there was no check before), `notes`
        (how sure that is and what was not compared) and `not_read` (`count` and `text` of each reason).
    """
    return {
        "headline": _describe_headline(summary),
        "less_sure": _describe_less_sure(summary),
        "changes": _describe_changes(summary["changes"]) if summary["changes"] else "",
        "notes": [*_describe_estimates(summary), *_describe_gaps(summary, names_flags=False)],
        "not_read": [
            {"count": each["count"], "text": name_reason(each["code"])} for each in summary["not_read"]["reasons"]
        ],
    }


def name_reason(code: str) -> str:
    """Return what a code of rejected.csv means."""
    return REJECTED.get(code, code.replace("_", " "))


def _describe_wrong(summary: Mapping[str, Any]) -> list[str]:
    lines = [_describe_headline(summary), _describe_less_sure(summary)]
    if summary["changes"]:
        lines.append(_describe_changes(summary["changes"]))
    lines += _describe_unreported(summary)
    lines += [*_describe_estimates(summary), *_describe_gaps(summary)]
    return [fold(line) for line in lines if line]


def _describe_headline(summary: Mapping[str, Any]) -> str:
    wrong, judged = summary["wrong_categories"], summary["judged"]
    if not judged:
        return "No category could be checked."
    if not wrong:
        return f"No category looks wrong, of {_count(judged, 'product')} that could be checked."
    look = "product looks as if it is" if wrong == 1 else "products look as if they are"
    return f"{wrong:,} {look} in a wrong category, of {judged:,} that could be checked."


def _describe_less_sure(summary: Mapping[str, Any]) -> str:
    less_sure = summary["less_sure"]
    verb, pronoun = ("is", "it") if less_sure == 1 else ("are", "them")
    return f"{less_sure:,} more {verb} less sure; the review shows {pronoun} too." if less_sure else ""


def _describe_estimates(summary: Mapping[str, Any]) -> list[str]:
    if not (summary["judged"] and summary["wrong_categories"]):
        return []
    return [text for text in (_describe_share(summary["wrong_share"]), _describe_first(summary)) if text]


def _describe_changes(changes: Mapping[str, Any]) -> str:
    new, changed, removed = (changes[key] for key in ("new", "changed", "removed"))
    if not (new["products"] or changed["products"] or removed["products"]):
        return "Since the last check: nothing new, changed or removed."

    def look(each: Mapping[str, int]) -> str:
        return f", {each['look_wrong']:,} {'looks' if each['look_wrong'] == 1 else 'look'} wrong"

    return (
        f"Since the last check: {_count(new['products'], 'new product')}{look(new)}; "
        f"{changed['products']:,} changed{look(changed)}; {removed['products']:,} removed."
    )


def _describe_unreported(summary: Mapping[str, Any]) -> list[str]:
    """Describe what `--fail-on new` goes by, where that is not what changed since the last check."""
    found, changes = summary["since_fail_on"], summary["changes"] or {}
    listed = sum(changes[key]["products"] for key in ("new", "changed")) if changes else 0
    if not found["reported"] or found["products"] == listed:
        return []
    look = "looks" if found["look_wrong"] == 1 else "look"
    return [
        f"Since the last check with --fail-on new: {_count(found['products'], 'new or changed product')}, "
        f"{found['look_wrong']:,} {look} wrong."
    ]


def _describe_share(share: Mapping[str, Any]) -> str:
    if "unknown" in share:
        return f"How many are wrong in all cannot be estimated honestly: {share['unknown']}."
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


def _describe_gaps(summary: Mapping[str, Any], *, names_flags: bool = True) -> list[str]:
    gaps = summary["not_compared"]
    lines = []
    is_none_known = gaps["photographs"] and NONE_KNOWN in gaps["photographs"]
    if count := gaps["products_of_other_categories"]:
        lines.append(
            f"{_count(count, 'product')} could not be compared with a photograph: hangtag's own model does not know "
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
    names = [f"{each['category']} ({each['products']:,})" for each in unknown[:MOST_REASONS]]
    more = len(unknown) - MOST_REASONS
    return f"{', '.join(names)} and {more:,} more" if more > 0 else ", ".join(names)


def _describe_places(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, found in (("Brands", summary["by_brand"]), ("Categories", summary["by_category"])):
        if found and found["values"]:
            values = ", ".join(
                f"{each['value']} ({each['wrong']:,} of {each['products']:,})".replace(" ", NO_BREAK_SPACE)
                for each in found["values"]
            )
            lines.append(fold(f"{name} with most: {values}", indent="  "))
    if count := summary["duplicates"]["groups"]:
        groups = "1 photograph is that of" if count == 1 else f"{count:,} photographs are those of"
        lines.append(fold(f"{groups} several products with different categories."))
    if spellings := summary["spellings"]:
        shown = ", ".join(f'"{each["given"]}" for "{each["suggested"]}"' for each in spellings[:MOST_REASONS])
        more = f" and {len(spellings) - MOST_REASONS:,} more" if len(spellings) > MOST_REASONS else ""
        lines.append(fold(f"Spelled in two ways: {shown}{more}."))
    if found := summary["without_category"]:
        lines.append(
            fold(
                f"{_count(found['products'], 'product')} without a category: {found['suggested']:,} with a suggestion, "
                f"{found['not_sure']:,} not sure; all in {make_relative(Path(found['file']))}."
            )
        )
    return lines


def _describe_examples(summary: Mapping[str, Any]) -> list[str]:
    lines = ["To verify by a look:"] if summary["examples"] else []
    for each in summary["examples"]:
        name = f"{each['name']} ({each['item_id']})" if each["name"] else each["item_id"]
        lines.append(textwrap.shorten(name, WIDTH - 2, placeholder=" ..."))
        lines[-1] = f"  {lines[-1]}"
        lines.append(_indent(f"{each['given']} -> {each['suggested']}"))
        lines.append(_indent(each["reason"]))
    return lines


def _indent(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _describe_next(summary: Mapping[str, Any], workspace: Path, catalog: str) -> list[str]:
    lines = []
    named = shlex.quote(str(workspace))
    if summary["decided"]:
        is_one = summary["decided"] == 1
        lines.append(f"{_count(summary['decided'], 'suspicion')} {'is' if is_one else 'are'} decided already.")
    if count := summary["not_in_file"]:
        has, it = ("has", "it") if count == 1 else ("have", "them")
        lines.append(
            fold(
                f"{_count(count, 'product')} of this file still {has} a value that you corrected. Run hangtag apply, "
                f"as below, and give your shop the file that it writes: that corrects {it}."
            )
        )
    lines.append(f"Decide in the browser:          hangtag review --workspace {named}")
    lines.append(f"Then write your corrected file: hangtag apply --workspace {named}")
    if summary["products"] >= ENOUGH_TO_TRAIN:
        lines.append(
            f"To find more, with time:        hangtag check {shlex.quote(catalog)} --workspace {named} --train"
        )
    return lines
