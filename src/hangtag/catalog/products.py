"""Compare the product that an id belonged to with the one that it belongs to now."""


def is_same_product(before: str, now: str | None) -> bool:
    """Return whether an id that belonged to a product of one name still belongs to it.

    Shops give the id of a product that they no longer sell to another one. White space and capitals do not count.

    Args:
        before: The product's name then; empty if it is not known, so that nothing is compared.
        now: The name of the product that has the id now; None if the catalogue has no names.
    """
    return now is None or not before or _fold(before) == _fold(now)


def _fold(name: str) -> str:
    return " ".join(name.casefold().split())
