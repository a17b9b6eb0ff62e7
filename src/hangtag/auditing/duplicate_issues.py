"""Tell of photographs that stand for several items, to the pixel or to the eye."""

import polars as pl

from hangtag.auditing.issues import DUPLICATE_PHOTOGRAPH, DUPLICATE_PIXELS, INFO, build_issues
from hangtag.auditing.same_product import list_groups, name_others, number_same_products
from hangtag.auditing.subject import Subject

# Nothing need be wrong, an order of photographs that was mixed up may be: below every doubted label.
SCORES = {DUPLICATE_PIXELS: 0.3, DUPLICATE_PHOTOGRAPH: 0.2}
REASONS = {
    DUPLICATE_PIXELS: "The photograph is the same, pixel for pixel, as that of {others}.",
    DUPLICATE_PHOTOGRAPH: "The photograph is nearly the same as that of {others}.",
}


def find_duplicates(subject: Subject) -> pl.DataFrame:
    """Give the issues of the codes `duplicate_pixels` and `duplicate_photograph`.

    An item has one of them at most, and none where it is the same product under several ids.
    """
    told = set((number_same_products(subject) >= 0).nonzero()[0].tolist())
    tables = []
    for code, numbers in (
        (DUPLICATE_PIXELS, subject.duplicates.pixels),
        (DUPLICATE_PHOTOGRAPH, subject.duplicates.groups),
    ):
        lines: list[dict[str, object]] = []
        for members in list_groups(numbers):
            ids = [subject.item_ids[row] for row in members]
            lines += [
                {
                    "item_id": subject.item_ids[row],
                    "score": SCORES[code],
                    "reason": REASONS[code].format(others=name_others(ids, subject.item_ids[row])),
                    "group_id": subject.group_ids[row],
                }
                for row in members
                if row not in told
            ]
            told.update(members)
        tables.append(build_issues(lines, code, INFO))
    return pl.concat(tables)
