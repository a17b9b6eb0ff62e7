"""What a network takes and gives, held against what its description says."""

from collections.abc import Mapping

from hangtag.errors import ModelError
from hangtag.models.description import Description
from hangtag.models.description_file import AGAIN, escape
from hangtag.models.novelty import NOVELTY
from hangtag.models.words import MAX_WORDS

# None for a side of any length.
Shape = tuple[int | None, ...]
Signature = Mapping[str, tuple[str, Shape]]


def check_signature(described: Description, inputs: Signature, outputs: Signature) -> None:
    """Check that a network takes and gives what its description says.

    Args:
        described: The description.
        inputs: The type of each input, as `uint8`, and its shape, by its name.
        outputs: The same of each output.

    Raises:
        ModelError: It takes or gives something else.
    """
    takes: Signature = {"pixels": ("uint8", (None, *described.network_size, 3))}
    if described.vocabulary:
        takes = {**takes, "words": ("int32", (None, MAX_WORDS))}
    gives: Signature = {head: ("float32", (None, size)) for head, size in described.outputs.heads.items()}
    # The description has a limit once an export is finished.
    if NOVELTY in described.content or NOVELTY in outputs:
        gives = {**gives, NOVELTY: ("float32", (None,))}
    # A network for photographs of every size takes those of this one too.
    found = {name: (kind, _fill(shape, takes.get(name))) for name, (kind, shape) in inputs.items()}
    for what, wanted, own in (("takes", takes, found), ("gives", gives, outputs)):
        if own != wanted:
            names = sorted(name for name in own.keys() | wanted.keys() if own.get(name) != wanted.get(name))
            raise ModelError(
                f"The model's network {what} something else than its description says: {described.path}.",
                allowed=f"Allowed: {_tell(wanted, names)}.",
                received=_tell(own, names),
                hint=AGAIN,
            )


def _fill(shape: Shape, wanted: tuple[str, Shape] | None) -> Shape:
    if wanted is None or len(wanted[1]) != len(shape):
        return shape
    return tuple(other if side is None else side for side, other in zip(shape, wanted[1], strict=True))


def _tell(signature: Signature, names: list[str]) -> str:
    shown = [f"{name} {signature[name][0]} {signature[name][1]}" for name in names[:3] if name in signature]
    return escape(", ".join(shown) or f"no {', '.join(names[:3])}", 200)
