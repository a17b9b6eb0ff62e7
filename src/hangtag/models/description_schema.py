"""The schema of `model.json`: the types and bounds of the entries that hangtag reads. Other entries are ignored."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

# A network for larger sides would fill the memory before its weights are compared.
LARGEST_SIDE = 2048
MOST_CLASSES, MOST_WORDS, MOST_COLUMNS = 100_000, 1_000_000, 100
# A little above 1, because sums of float32 probabilities have rounding errors.
LARGEST_PROBABILITY = 1.00001
# The dotted path of a wrong entry, what is allowed, and its value.
Mistake = tuple[str, str, Any]
# The value of a missing entry.
NOTHING = object()
# Far above every distance between features, and finite in float32.
LARGEST_DISTANCE = 1e30
PRECISION = re.compile(r"0\.\d{1,17}|1")


def _check_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise PydanticCustomError("twice", "Input should be texts that differ from each other")
    return names


def _check_precisions(thresholds: dict[str, Any]) -> dict[str, Any]:
    if not all(PRECISION.fullmatch(precision) for precision in thresholds):
        raise PydanticCustomError("precision", "Input should be a table whose keys are precisions, such as 0.95")
    return thresholds


Name = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
# Statistics of pixels are shares of 1, and are divided by no deviation below one in a million.
Share = Annotated[float, Field(ge=0, le=1)]
Whitening = Annotated[float, Field(ge=-1e6, le=1e6)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Probability = Annotated[float, Field(ge=0, le=LARGEST_PROBABILITY)]
# Outside of this range, probabilities are 0, 1 or not finite.
Temperature = Annotated[float, Field(ge=0.01, le=100)]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Size = Annotated[list[Side], Field(min_length=2, max_length=2)]
Names = Annotated[list[Name], Field(min_length=1, max_length=MOST_CLASSES), AfterValidator(_check_unique)]
Words = Annotated[list[Name], Field(min_length=1, max_length=MOST_WORDS), AfterValidator(_check_unique)]
ClassIndex = Annotated[int, Field(ge=-1, lt=MOST_CLASSES)]
CategoryPathEntry = Annotated[list[ClassIndex], Field(min_length=1, max_length=MOST_COLUMNS)]
CategoryPaths = Annotated[list[CategoryPathEntry], Field(min_length=1, max_length=MOST_CLASSES)]


def _may_lack() -> Any:
    """Return the field of an entry that may be missing, but not null."""
    return Field(default=None)


class _Entry(BaseModel):
    # Strict: values are not converted, so the text "2" is not accepted as a number.
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class _Preprocessing(_Entry):
    color_mode: Literal["color", "gray"]
    rescale: Annotated[float, Field(gt=0, le=1)] = 1.0


class _LabelSpace(_Entry):
    levels: Annotated[dict[Name, Names], Field(min_length=1, max_length=MOST_COLUMNS)]
    category_paths: CategoryPaths
    attributes: Annotated[dict[Name, Names], Field(max_length=MOST_COLUMNS)]
    primary: Name


class _Fit(_Entry):
    temperatures: dict[str, Temperature]
    thresholds: Annotated[dict[str, Probability | None], AfterValidator(_check_precisions)]


class _Calibration(_Entry):
    photograph: _Fit
    photograph_and_name: _Fit = _may_lack()
    name_weight: dict[str, Number] = {}


class _PixelStatistics(_Entry):
    center: Annotated[list[Share], Field(min_length=8, max_length=8)]
    whitening: Annotated[
        list[Annotated[list[Whitening], Field(min_length=8, max_length=8)]], Field(min_length=8, max_length=8)
    ]
    limit: Annotated[float, Field(ge=0, le=LARGEST_DISTANCE)]


class _OutOfDistribution(_Entry):
    limit: Annotated[float, Field(ge=0, le=LARGEST_DISTANCE)]
    pixel_statistics: _PixelStatistics = _may_lack()
    in_distribution_share: Probability = 1.0


class _Metrics(_Entry):
    epoch: Annotated[Count, Field(ge=1)] | None = None
    val_accuracy: Probability | None = None


class _Parameters(_Entry):
    total: Count


class _Network(_Entry):
    engine: Literal["openvino"] = "openvino"
    stored_as: Name = "float32"
    sha256: Hash
    weights_sha256: Hash


class _Weights(_Entry):
    sha256: Hash


class _Seen(_Entry):
    file: Literal["seen.safetensors"]
    sha256: Hash
    trained_on: Count = 0
    chosen_on: Count = 0
    is_complete: bool


class DescriptionSchema(_Entry):
    """All entries of `model.json` that hangtag reads."""

    format: Annotated[int, Field(ge=2, le=2)]
    architecture: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")]
    class_names: Names
    image_size: Size
    network_size: Size = _may_lack()
    preprocessing: _Preprocessing
    label_space: _LabelSpace
    words: Words | None
    network: _Network = _may_lack()
    weights: _Weights = _may_lack()
    run_id: Annotated[str, StringConstraints(max_length=2_000)] = ""
    label_name: Name = ""
    tta_flip: bool = False
    calibration: _Calibration = _may_lack()
    train_counts: dict[str, list[Count]] | None = None
    train_splits: Annotated[list[Literal["train", "val", "test"]], Field(max_length=3)] = []
    metrics: _Metrics = _Metrics()
    labels_digest: Annotated[str, StringConstraints(max_length=200)] | None = None
    parameters: _Parameters = _may_lack()
    flops: Count | None = None
    out_of_distribution: _OutOfDistribution = _may_lack()
    seen: _Seen = _may_lack()
    figures: dict[str, dict[str, Any]] = {}
    figures_with_names: dict[str, dict[str, Any]] = {}
    hub: dict[str, Any] = {}


def find_mistake(content: dict[str, Any], *, may_lack: bool = False) -> Mistake | None:
    """Return the first entry of a description that is missing or wrong, or None if all are valid.

    Args:
        content: The content of `model.json`.
        may_lack: Whether entries may be missing.
    """
    try:
        DescriptionSchema.model_validate(content)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_context=False):
            path = ".".join(str(part) for part in details["loc"] if part != "[key]")
            if details["type"] != "missing":
                message = details["msg"].removeprefix("Input should be ")
                allowed = f"{message}." if message == details["msg"] else f"Allowed: {message}."
                return path, allowed, details["input"]
            if not may_lack:
                return path, "Wanted: this entry.", NOTHING
    return None
