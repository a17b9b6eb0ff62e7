"""Begin a training on small photographs, which cost less, and end it on whole ones."""

from hangtag.models.registry import SMALLEST_SIDE


def choose_size(
    image_size: tuple[int, int], epoch: int, epochs: int, start_scale: float, whole_share: float
) -> tuple[int, int]:
    """Give the (height, width) that photographs are shrunk to in an epoch: three sizes, each for a while.

    Source: progressive resizing as in Tan and Le, *EfficientNetV2: Smaller Models and Faster Training*, 2021.

    Args:
        image_size: (height, width) of whole photographs.
        epoch: From 1.
        epochs: Of the whole training.
        start_scale: The share of the sides that the training begins on, above 0 to 1.
        whole_share: The last share of the epochs, which sees whole photographs; those before it are divided evenly.
    """
    if epochs - epoch < whole_share * epochs:
        scale = 1.0
    else:
        scale = start_scale if epoch - 1 < (1 - whole_share) / 2 * epochs else start_scale**0.5
    height, width = (max(round(side * scale / 2) * 2, SMALLEST_SIDE) if scale < 1 else side for side in image_size)
    return height, width
