"""Begin a training on small photographs, which cost less, and end it on those of the size that the network reads."""

from hangtag.models.registry import SMALLEST_SIDE


def choose_size(
    image_size: tuple[int, int],
    epoch: int,
    epochs: int,
    *,
    start_scale: float,
    end_scale: float = 1.0,
    end_share: float,
) -> tuple[int, int]:
    """Give the (height, width) that photographs are shrunk or enlarged to in an epoch: three sizes, each for a while.

    Source: progressive resizing as in Tan and Le, *EfficientNetV2: Smaller Models and Faster Training*, 2021.

    Args:
        image_size: (height, width) of whole photographs.
        epoch: From 1.
        epochs: Of the whole training.
        start_scale: The share of the sides that the training begins on, above 0; `end_scale` at most.
        end_scale: The share that it ends on; above 1 photographs are enlarged.
        end_share: The last share of the epochs, which ends it; those before it are divided evenly.
    """
    start_scale = min(start_scale, end_scale)
    if epochs - epoch < end_share * epochs:
        scale = end_scale
    else:
        is_early = epoch - 1 < (1 - end_share) / 2 * epochs
        scale = start_scale if is_early else (start_scale * end_scale) ** 0.5
    return scale_size(image_size, scale)


def scale_size(image_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Give (height, width) with this share of the sides, even where they are smaller."""
    height, width = (max(round(side * scale / 2) * 2, SMALLEST_SIDE) if scale != 1 else side for side in image_size)
    return height, width
