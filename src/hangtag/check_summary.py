"""Format the summary of `hangtag check` as plain text, in words for people who never trained a model."""

import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hangtag.auditing.catalog_words import (
    ENOUGH_TO_TRAIN,
    KINDS_OF_PRODUCTS,
    describe_estimates,
    describe_gaps,
    describe_headline,
    describe_less_sure,
    name_reason,
)
from hangtag.results import NO_BREAK_SPACE, WIDTH, fold, make_relative
from hangtag.results import count_of as _count

MOST_REASONS = 5


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
        _describe_questions(summary),
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
        "headline": describe_headline(summary),
        "less_sure": describe_less_sure(summary),
        "changes": _describe_changes(summary["changes"]) if summary["changes"] else "",
        "notes": [*describe_estimates(summary), *describe_gaps(summary, names_flags=False)],
        "not_read": [
            {"count": each["count"], "text": name_reason(each["code"])} for each in summary["not_read"]["reasons"]
        ],
    }


def _describe_wrong(summary: Mapping[str, Any]) -> list[str]:
    lines = [describe_headline(summary), describe_less_sure(summary)]
    if summary["changes"]:
        lines.append(_describe_changes(summary["changes"]))
    lines += _describe_unreported(summary)
    lines += [*describe_estimates(summary), *describe_gaps(summary)]
    return [fold(line) for line in lines if line]


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


def _describe_places(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, found in (("Brands", summary["by_brand"]), ("Categories", summary["by_category"])):
        if found and found["values"]:
            values = ", ".join(
                f"{each['value']} ({each['wrong']:,} of {each['products']:,})".replace(" ", NO_BREAK_SPACE)
                for each in found["values"]
            )
            others = found["others"]
            rest = f", and {others['wrong']:,} in {others['values']:,} more" if others["wrong"] else ""
            lines.append(fold(f"{name} with most: {values}{rest}", indent="  "))
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
                f"{_count(found['products'], 'product')} without a category: {found['suggested']:,} with a "
                f"suggestion, {found['not_sure']:,} not sure; all in {make_relative(Path(found['file']))}."
            )
        )
    return lines


def _describe_questions(summary: Mapping[str, Any]) -> list[str]:
    """Return what the review asks: each product counts once, so that the lines add up to all products to look at."""
    found = summary["to_look_at"]
    if not found["questions"]:
        return []
    asked = "asks 1 question" if found["questions"] == 1 else f"asks {found['questions']:,} questions"
    return [
        fold(f"The review {asked} about {_count(found['products'], 'product')}, each counted once here:"),
        *(
            f"  {each['products']:>7,}  {KINDS_OF_PRODUCTS[each['kind']]}"
            for each in found["kinds"]
            if each["products"]
        ),
    ]


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
        lines.append(f"{_count(summary['decided'], 'question')} {'is' if is_one else 'are'} decided already.")
    if summary["skipped"]:
        verb = "is" if summary["skipped"] == 1 else "are"
        lines.append(f"{_count(summary['skipped'], 'question')} {verb} skipped, for later; not counted above.")
    if count := summary["not_in_file"]:
        has, it = ("has", "it") if count == 1 else ("have", "them")
        lines.append(
            fold(
                f"{_count(count, 'product')} of this file still {has} a value that you corrected. Run hangtag apply, "
                f"as below, and give your shop the file that it writes: that corrects {it}."
            )
        )
    page = summary["report"]
    if page["file"]:
        lines.append(f"See it all on one page:         {make_relative(Path(page['file']))}")
    else:
        lines.append(fold(f"The page with all of it could not be written: {page['missing']}"))
    lines.append(f"Decide in the browser:          hangtag review --workspace {named}")
    lines.append(f"Then write your corrected file: hangtag apply --workspace {named}")
    if summary["products"] >= ENOUGH_TO_TRAIN:
        lines.append(
            f"To find more, with time:        hangtag check {shlex.quote(catalog)} --workspace {named} --train"
        )
    return lines
