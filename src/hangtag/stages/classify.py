"""Stage `classify`: predict photograph files, as a list, printed, or written to a file of any length."""

import glob
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from hangtag.catalog.files import escape_name
from hangtag.config import ClassifyConfig
from hangtag.console import show_progress
from hangtag.errors import SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import Failure, Photo, classify_photographs
from hangtag.io import hash_file, hash_json, is_alive, read_json, write_json, write_whole
from hangtag.lock import LOCK, hold_folder
from hangtag.models.out_of_distribution import MOST_OUT_OF_DISTRIBUTION
from hangtag.serving import output
from hangtag.serving.output import Group, Listed, Pair, group_entries, list_entries, write_explained
from hangtag.workspace import unlink

PART = 10_000
OUTPUTS = (".csv", ".jsonl", ".parquet")
Form = Literal["table", "json", "csv"]
Tally = dict[str, int]
OUTCOMES = ("sure", "not_sure", "out_of_distribution", "failed")
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


def choose_form(*, json: bool, csv: bool, output: Path | None, explain: Path | None, group_by: str | None) -> Form:
    """Return the form in which `classify` prints predictions.

    Raises:
        SettingsError: Some of the flags cannot be used together.
    """
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
    files, by_product = _list_inputs(paths, group_by), group_by is not None
    pairs = _count_outcomes(_pair_outcomes(files, classifier, config, explain=explain is not None), tally)
    if explain is not None:
        pairs = write_explained(pairs, Path(explain))
    pairs = _escape_names(pairs)
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
) -> Tally:
    """Classify photographs into a `.csv`, `.jsonl` or `.parquet` file; after a kill the same call goes on.

    The files are listed once, and every 10,000 of them are a part that is written whole, in a folder beside
    the output; at the end the parts become the output and the folder goes away.

    Args:
        output: The file to write.
        paths: Files and folders.
        classifier: The model.
        config: Settings.
        group_by: How files belong to products, which have one answer; see `group_entries`. None answers each file.

    Returns:
        How many were `sure`, `not_sure`, `out_of_distribution` and `failed`.

    Raises:
        SettingsError: The output has another suffix, or no file fits `group_by`.
        CatalogError: A path does not exist or cannot be read.
    """
    path = Path(output)
    if path.suffix.lower() not in OUTPUTS:
        raise SettingsError(
            "The output's kind is not known.", allowed=f"Allowed: {', '.join(OUTPUTS)}.", received=path.name
        )
    parts = path.with_name(f"{path.name}.parts")
    with hold_folder("classify", parts):
        try:
            tally = _classify_parts(path, parts, paths, classifier, config, group_by)
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


def _classify_parts(
    path: Path,
    parts: Path,
    paths: Sequence[str | Path],
    classifier: Classifier,
    config: ClassifyConfig,
    group_by: str | None,
) -> Tally:
    files, by_product = _begin_parts(parts, paths, classifier, config, group_by), group_by is not None
    with files.open(encoding="utf-8") as lines:
        total = sum(1 for _ in lines)
    tallies = []
    with (
        files.open(encoding="utf-8") as lines,
        show_progress("Classifying", total, "products" if by_product else "photographs") as bar,
    ):
        names = (json.loads(line) for line in lines)
        for number in range(-(-total // PART)):
            chunk = list(islice(names, PART))
            part, tally_path = parts / f"{number:06}{path.suffix.lower()}", parts / f"{number:06}.json"
            tally = _read_tally(tally_path, part)
            if tally is None:
                tally = dict.fromkeys(OUTCOMES, 0)
                pairs = _escape_names(
                    _count_outcomes(_pair_outcomes(map(_read_listed, chunk), classifier, config), tally)
                )
                _write_part(part, _report_progress(pairs, bar.advance), classifier, by_product=by_product)
                write_json(tally_path, {**tally, "sha256": hash_file(part)})
            else:
                bar.advance(len(chunk))
            tallies.append(tally)
    names_of_parts = [parts / f"{number:06}{path.suffix.lower()}" for number in range(len(tallies))]
    _join_parts(path, names_of_parts, classifier, by_product=by_product)
    return {key: sum(tally[key] for tally in tallies) for key in OUTCOMES}


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


def _read_tally(path: Path, part: Path) -> Tally | None:
    """Return what a finished part counted; None where it is not finished, or damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = read_json(path)
        if found["sha256"] == hash_file(part):
            return {key: int(found[key]) for key in OUTCOMES}
    return None


def _list_inputs(paths: Sequence[str | Path], group_by: str | None) -> Iterable[Listed | Group]:
    files = list_entries([Path(path) for path in paths])
    return files if group_by is None else group_entries(files, group_by)


def _begin_parts(
    parts: Path, paths: Sequence[str | Path], classifier: Classifier, config: ClassifyConfig, group_by: str | None
) -> Path:
    """List the files, a JSON text a line, or keep the list of an earlier call that was stopped, if it was the same."""
    network = classifier.description.get("network", classifier.description.get("weights"))
    names = [escape_name(str(Path(index).absolute())) for index in paths]
    asked = hash_json([names, network, config.target_precision, *([group_by] if group_by else [])])
    known = parts / "asked.json"
    listed = parts / "files.jsonl"
    with suppress(OSError, ValueError):
        # What is damaged is made anew.
        if read_json(known) == hash_json([asked, hash_file(listed)]):
            return listed
    for stale in parts.iterdir():
        # The lock stays: without it the next process would think that nobody is here.
        if stale.name != LOCK:
            unlink(stale)
    files = _list_inputs(paths, group_by)
    with write_whole(listed) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(_describe_listed(each))}\n" for each in files)
    write_json(known, hash_json([asked, hash_file(listed)]))
    return listed


Described = str | list[str] | dict[str, Any]


def _describe_listed(listed: Listed | Group) -> Described:
    if isinstance(listed, Group):
        return {"product": listed.name, "files": [_describe_listed(each) for each in listed.entries]}
    path, failure = listed
    return str(path) if failure is None else [str(path), failure.code, failure.reason]


def _read_listed(described: Described) -> Listed | Group:
    if isinstance(described, dict):
        return Group(described["product"], [_read_file(each) for each in described["files"]])
    return _read_file(described)


def _read_file(described: str | list[str]) -> Listed:
    if isinstance(described, str):
        return Listed(Path(described))
    path, code, reason = described
    return Listed(Path(path), Failure(code, reason))


def _pair_outcomes(
    files: Iterable[Listed | Group], classifier: Classifier, config: ClassifyConfig, *, explain: bool = False
) -> Iterator[Pair]:
    """Yield the name of each file or product with its outcome."""
    # Names run ahead of outcomes by the few chunks that are being worked on.
    names: deque[str] = deque()

    def note() -> Iterator[Photo | list[Photo]]:
        for each in files:
            if isinstance(each, Group):
                names.append(each.name)
                yield [path if failure is None else failure for path, failure in each.entries]
            else:
                names.append(str(each.path))
                yield each.path if each.failure is None else each.failure

    for outcome in classify_photographs(classifier, note(), precision=config.target_precision, explain=explain):
        yield names.popleft(), outcome


def _count_outcomes(pairs: Iterable[Pair], tally: Tally) -> Iterator[Pair]:
    for name, outcome in pairs:
        tally[_find_key(outcome)] += 1
        yield name, outcome


def _find_key(outcome: Prediction | Failure) -> str:
    if not isinstance(outcome, Prediction):
        return "failed"
    if not outcome.in_distribution:
        return "out_of_distribution"
    return "sure" if outcome.is_sure else "not_sure"


def _escape_names(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Yield pairs with names that every output can hold."""
    for name, outcome in pairs:
        yield escape_name(name), outcome


def _report_progress(pairs: Iterable[Pair], advance: Callable[[], object]) -> Iterator[Pair]:
    for pair in pairs:
        yield pair
        advance()


def _write_part(path: Path, pairs: Iterator[Pair], classifier: Classifier, *, by_product: bool) -> None:
    label_space = classifier.label_space
    if path.suffix == ".parquet":
        batch = output.make_batch(list(pairs), label_space, by_product=by_product)
        with write_whole(path) as temporary:
            output.write_parquet_file(temporary, [batch], batch.schema)
        return
    lines = (
        output.write_csv_lines(pairs, label_space, header=False, by_product=by_product)
        if path.suffix == ".csv"
        else output.write_json_lines(pairs, by_product=by_product)
    )
    with (
        write_whole(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(lines)


def _join_parts(path: Path, parts: Sequence[Path], classifier: Classifier, *, by_product: bool) -> None:
    label_space = classifier.label_space
    if path.suffix.lower() == ".parquet":
        from arro3.io import read_parquet  # noqa: PLC0415

        batches = (batch for part in parts for batch in read_parquet(part))
        with write_whole(path) as temporary:
            schema = output.make_batch([], label_space, by_product=by_product).schema
            output.write_parquet_file(temporary, batches, schema)
        return
    with write_whole(path) as temporary, temporary.open("wb") as file:
        if path.suffix.lower() == ".csv":
            file.write("".join(output.write_csv_lines([], label_space, by_product=by_product)).encode())
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)
