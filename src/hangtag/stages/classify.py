"""Stage `classify`: predict photograph files, as a list, printed, or written to a file of any length."""

import glob
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from hangtag.config import ClassifyConfig
from hangtag.errors import SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import Failure, Photo, classify_photographs
from hangtag.io import is_alive
from hangtag.lock import LOCK, hold_folder
from hangtag.models.out_of_distribution import MOST_OUT_OF_DISTRIBUTION
from hangtag.runner_config import RunnerConfig
from hangtag.serving import output
from hangtag.serving.output import list_entries, write_explained
from hangtag.serving.predicted_files import (
    OUTCOMES,
    Tally,
    count_outcomes,
    escape_names,
    list_inputs,
    pair_outcomes,
    write_in_parts,
)

OUTPUTS = (".csv", ".jsonl", ".parquet")
Form = Literal["table", "json", "csv"]
# A smaller set is not judged as a whole.
LEAST_PHOTOGRAPHS = 10


def classify(
    photographs: str | Path | Sequence[str | Path | bytes | Sequence[str | Path | bytes]],
    model: str | Path | Classifier | None = None,
    config: ClassifyConfig = ClassifyConfig(),  # noqa: B008  (frozen)
    *,
    explain: bool = False,
) -> list[Prediction | Failure]:
    """Classify photographs and return the predictions in their order.

    For any number of photographs in bounded memory, see `hangtag.classify_photographs`.

    Args:
        photographs: Files, folders of them, or contents of files as bytes; one path alone, too. A list or tuple among
            them is a product with several photographs, whose prediction is the mean of theirs.
        model: The folder of an export, or a loaded model; by default the one that comes with hangtag.
        config: Settings.
        explain: Whether each prediction has a heatmap of where the model looked.

    Returns:
        A `Prediction` for each photograph or product, or a `Failure` with a code and a reason where it cannot be read.

    Raises:
        CatalogError: A path does not exist or cannot be read.
        ModelError: The model cannot be loaded, or cannot show where it looked.
    """
    classifier = model if isinstance(model, Classifier) else Classifier.load(model)
    given = [photographs] if isinstance(photographs, str | Path) else photographs

    def list_sources() -> Iterator[Photo | list[Photo]]:
        for source in given:
            if isinstance(source, str | Path | bytes):
                yield from _list_files(source)
            else:
                yield [photo for each in source for photo in _list_files(each)]

    return list(classify_photographs(classifier, list_sources(), precision=config.target_precision, explain=explain))


def _list_files(source: str | Path | bytes) -> Iterator[Photo]:
    """Yield the photographs of a file, a folder, or a file's content."""
    if isinstance(source, bytes):
        yield source
    else:
        yield from (path if failure is None else failure for path, failure in list_entries([Path(source)]))


def choose_form(
    *,
    json: bool,
    csv: bool,
    output: Path | None,
    explain: Path | None,
    group_by: str | None,
    runner: RunnerConfig = RunnerConfig(),  # noqa: B008  (frozen)
) -> Form:
    """Return the form in which `classify` prints predictions.

    Raises:
        SettingsError: Some of the flags cannot be used together.
    """
    if runner.runner == "ray" and output is None:
        raise SettingsError("--runner ray needs --output: tasks write the parts of a file.")
    if json + csv + (output is not None) > 1:
        raise SettingsError("--json, --csv and --output cannot be used together.")
    if explain and output:
        raise SettingsError("--explain and --output cannot be used together.")
    if explain and group_by:
        raise SettingsError("--explain and --group-by cannot be used together.")
    return "json" if json else "csv" if csv else "table"


def print_predictions(
    paths: Sequence[str | Path],
    classifier: Classifier,
    config: ClassifyConfig = ClassifyConfig(),  # noqa: B008  (frozen)
    *,
    form: Form = "table",
    write: Callable[[str], object] | None = None,
    explain: str | Path | None = None,
    group_by: str | None = None,
) -> Tally:
    """Classify photographs and print each prediction as soon as it is known.

    Args:
        paths: Files and folders.
        classifier: The model.
        config: Settings.
        form: How to tell; `json` is an object a line.
        write: Takes the text; by default it is printed.
        explain: A folder for a PNG of each photograph with a map over it of where the model looked, named as it;
            what is there already stays, and the new one gets a number.
        group_by: How files belong to products, which have one answer; see `group_entries`. None answers each file.

    Returns:
        How many were `sure`, `not_sure`, `out_of_distribution` and `failed`.

    Raises:
        CatalogError: A path does not exist or cannot be read.
        SettingsError: No file fits `group_by`.
        ModelError: The model cannot show where it looked.
    """
    tally: Tally = dict.fromkeys(OUTCOMES, 0)
    files, by_product = list_inputs(paths, group_by), group_by is not None
    pairs = count_outcomes(pair_outcomes(files, classifier, config, explain=explain is not None), tally)
    if explain is not None:
        pairs = write_explained(pairs, Path(explain))
    pairs = escape_names(pairs)
    if form == "json":
        lines = output.write_json_lines(pairs, by_product=by_product)
    elif form == "csv":
        lines = output.write_csv_lines(pairs, classifier.label_space, by_product=by_product)
    else:
        lines = output.write_table_lines(pairs, classifier.label_space, by_product=by_product)
    for line in lines:
        (write or sys.stdout.write)(line)
    return tally


def write_predictions(
    output: str | Path,
    paths: Sequence[str | Path],
    classifier: Classifier,
    config: ClassifyConfig = ClassifyConfig(),  # noqa: B008  (frozen)
    *,
    group_by: str | None = None,
    runner: RunnerConfig = RunnerConfig(),  # noqa: B008
) -> Tally:
    """Classify photographs into a `.csv`, `.jsonl` or `.parquet` file; after a kill the same call goes on.

    The files are listed once, and every 2,048 of them are a part that is written whole, in a folder beside
    the output; at the end the parts become the output and the folder goes away.

    Args:
        output: The file to write.
        paths: Files and folders.
        classifier: The model.
        config: Settings.
        group_by: How files belong to products, which have one answer; see `group_entries`. None answers each file.
        runner: Where parts are classified; see docs/scaling.md.

    Returns:
        How many were `sure`, `not_sure`, `out_of_distribution` and `failed`.

    Raises:
        SettingsError: The output has another suffix, no file fits `group_by`, or the runner cannot load the model.
        CatalogError: A path does not exist or cannot be read.
        RunnerError: The Ray cluster cannot be used.
    """
    path = Path(output)
    if path.suffix.lower() not in OUTPUTS:
        raise SettingsError(
            "The output's kind is not known.", allowed=f"Allowed: {', '.join(OUTPUTS)}.", received=path.name
        )
    parts = path.with_name(f"{path.name}.parts")
    with hold_folder("classify", parts):
        try:
            tally = write_in_parts(path, parts, paths, classifier, config, group_by, runner)
        except BaseException:
            if all(each.name == LOCK for each in parts.iterdir()):
                # Nothing was begun that the next call could go on with.
                _remove_parts(parts)
            raise
        _remove_parts(parts)
    return tally


def _remove_parts(parts: Path) -> None:
    """Remove the folder of parts, and what an earlier process left of one.

    It gets another name first: whoever waits for it makes a new one, which is not to be removed as well.
    """
    parts.rename(parts.with_name(f".{parts.name}-{os.getpid()}"))
    for folder in parts.parent.glob(f".{glob.escape(parts.name)}-*"):
        owner = folder.name.rpartition("-")[2]
        if owner.isdecimal() and (int(owner) == os.getpid() or not is_alive(int(owner))):
            shutil.rmtree(folder)


def list_warnings(tally: Tally, *, by_product: bool = False) -> list[str]:
    """Return sentences on photographs that failed, and on a set that is unlike the training photographs as a whole.

    Of many that are out of distribution, some pass for training photographs by chance, so sure labels count as little.
    """
    total, outside = sum(tally.values()), tally["out_of_distribution"]
    read = total - tally["failed"]
    warnings = [f"{tally['failed']:,} of {total:,} could not be classified."] if tally["failed"] else []
    if read >= LEAST_PHOTOGRAPHS and outside > MOST_OUT_OF_DISTRIBUTION * read:
        warnings.append(
            f"{outside:,} of {read:,} {'products' if by_product else 'photographs'} are unlike all that the model was "
            "trained on. Do not rely on any of these labels, sure ones included. Train a model on such photographs: "
            "`hangtag run CATALOG`."
        )
    return warnings
