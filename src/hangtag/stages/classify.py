"""Stage `classify`: predict photograph files, as a list, printed, or written to a file of any length."""

import glob
import hashlib
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Literal

from hangtag.catalog.files import escape_name, read_regular
from hangtag.catalog.images import PhotographError, decode_photograph
from hangtag.config import ClassifyConfig
from hangtag.console import show_progress
from hangtag.errors import SettingsError
from hangtag.explain.grad_cam import Maps
from hangtag.explain.heatmap import encode_png, lay_over
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import MAX_BYTES, MAX_PIXELS, Failure, classify_photographs
from hangtag.io import hash_file, hash_json, is_alive, read_json, write_json, write_whole
from hangtag.lock import LOCK, hold_folder
from hangtag.serving import output
from hangtag.serving.output import Listed, Pair, list_entries
from hangtag.workspace import unlink

# Write photographs with a map over each of where the model looked.

# The longer side of a picture, in pixels.
SIDE = 640
# Systems allow a name 255 bytes; a suffix, a number and the mark of a file in the making need some of them.
MAX_STEM_BYTES = 180


def write_explained(pairs: Iterable[Pair], folder: Path) -> Iterator[Pair]:
    """Write a PNG with the heatmap of each prediction, and yield the predictions without it."""
    for file, outcome in pairs:
        if isinstance(outcome, Prediction) and outcome.heatmap is not None:
            try:
                picture = draw_explained(read_regular(file, MAX_BYTES), outcome.heatmap)
            except (OSError, PhotographError):
                yield file, Failure("unreadable", "it has changed while it was being classified")
                continue
            with write_whole(_find_name(folder, _shorten_stem(escape_name(Path(file).stem)))) as temporary:
                temporary.write_bytes(picture)
            yield file, replace(outcome, heatmap=None)
        else:
            yield file, outcome


def draw_explained(content: bytes, heatmap: Maps) -> bytes:
    """Return a PNG of a photograph with a map of its proportions over it.

    Args:
        content: What the photograph's file holds.
        heatmap: Where the model looked, (rows, columns).

    Raises:
        PhotographError: The file is none.
    """
    height, width = (max(1, round(SIDE * side / max(heatmap.shape))) for side in heatmap.shape)
    photograph = decode_photograph(content, (height, width), MAX_PIXELS)
    return encode_png(lay_over(photograph.pixels, heatmap))


def _shorten_stem(stem: str) -> str:
    """Return a file's name as it is, or the beginning of a long one and some letters that stand for all of it."""
    data = stem.encode()
    if len(data) <= MAX_STEM_BYTES:
        return stem
    return f"{data[: MAX_STEM_BYTES - 9].decode(errors='ignore')}-{hashlib.sha256(data).hexdigest()[:8]}"


def _find_name(folder: Path, stem: str) -> Path:
    """Return a path that is free: the name, or else the name with a number."""
    names = (f"{stem}.png" if number == 1 else f"{stem}-{number}.png" for number in count(1))
    return next(path for name in names if not (path := folder / name).exists())


PART = 10_000
LABEL_SPACE = (".csv", ".jsonl", ".parquet")
Form = Literal["table", "json", "csv"]
Tally = dict[str, int]


def classify(
    photographs: str | Path | Sequence[str | Path | bytes],
    model: str | Path | Classifier | None = None,
    config: ClassifyConfig = ClassifyConfig(),  # noqa: B008  (frozen)
    *,
    explain: bool = False,
) -> list[Prediction | Failure]:
    """Classify photographs and return the predictions in their order.

    For any number of photographs in bounded memory, see `hangtag.classify_photographs`.

    Args:
        photographs: Files, folders of them, or contents of files as bytes; one path alone, too.
        model: The folder of an export, or a loaded model; by default the one that comes with hangtag.
        config: Settings.
        explain: Whether each prediction has a heatmap of where the model looked.

    Returns:
        A `Prediction` for each photograph, or a `Failure` with a code and a reason where it cannot be read.

    Raises:
        CatalogError: A path does not exist or cannot be read.
        ModelError: The model cannot be loaded, or cannot show where it looked.
    """
    classifier = model if isinstance(model, Classifier) else Classifier.load(model)
    given = [photographs] if isinstance(photographs, str | Path) else photographs

    def list_sources() -> Iterator[Path | bytes | Failure]:
        for source in given:
            if isinstance(source, bytes):
                yield source
            else:
                for path, failure in list_entries([Path(source)]):
                    yield path if failure is None else failure

    return list(classify_photographs(classifier, list_sources(), precision=config.target_precision, explain=explain))


def print_predictions(
    paths: Sequence[str | Path],
    classifier: Classifier,
    config: ClassifyConfig = ClassifyConfig(),  # noqa: B008  (frozen)
    *,
    form: Form = "table",
    write: Callable[[str], object] | None = None,
    explain: str | Path | None = None,
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

    Returns:
        How many were `sure`, `not_sure` and `failed`.

    Raises:
        CatalogError: A path does not exist or cannot be read.
        ModelError: The model cannot show where it looked.
    """
    tally: Tally = {"sure": 0, "not_sure": 0, "failed": 0}
    files = list_entries([Path(index) for index in paths])
    pairs = _count_outcomes(_pair_outcomes(files, classifier, config, explain=explain is not None), tally)
    if explain is not None:
        pairs = write_explained(pairs, Path(explain))
    pairs = _escape_names(pairs)
    if form == "json":
        lines = output.write_json_lines(pairs)
    elif form == "csv":
        lines = output.write_csv_lines(pairs, classifier.label_space)
    else:
        lines = output.write_table_lines(pairs, classifier.label_space)
    for line in lines:
        (write or sys.stdout.write)(line)
    return tally


def write_predictions(
    output: str | Path,
    paths: Sequence[str | Path],
    classifier: Classifier,
    config: ClassifyConfig = ClassifyConfig(),  # noqa: B008  (frozen)
) -> Tally:
    """Classify photographs into a `.csv`, `.jsonl` or `.parquet` file; after a kill the same call goes on.

    The files are listed once, and every 10,000 of them are a part that is written whole, in a folder beside
    the output; at the end the parts become the output and the folder goes away.

    Args:
        output: The file to write.
        paths: Files and folders.
        classifier: The model.
        config: Settings.

    Returns:
        How many were `sure`, `not_sure` and `failed`.

    Raises:
        SettingsError: The output has another suffix.
        CatalogError: A path does not exist or cannot be read.
    """
    path = Path(output)
    if path.suffix.lower() not in LABEL_SPACE:
        raise SettingsError(
            "The output's kind is not known.", allowed=f"Allowed: {', '.join(LABEL_SPACE)}.", received=path.name
        )
    parts = path.with_name(f"{path.name}.parts")
    with hold_folder("classify", parts):
        try:
            tally = _classify_parts(path, parts, paths, classifier, config)
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
    path: Path, parts: Path, paths: Sequence[str | Path], classifier: Classifier, config: ClassifyConfig
) -> Tally:
    files = _begin_parts(parts, paths, classifier, config)
    with files.open(encoding="utf-8") as lines:
        total = sum(1 for _ in lines)
    tallies = []
    with (
        files.open(encoding="utf-8") as lines,
        show_progress("Classifying", total, "photographs") as bar,
    ):
        names = (json.loads(line) for line in lines)
        for number in range(-(-total // PART)):
            chunk = list(islice(names, PART))
            part, tally_path = parts / f"{number:06}{path.suffix.lower()}", parts / f"{number:06}.json"
            tally = _read_tally(tally_path, part)
            if tally is None:
                tally = {"sure": 0, "not_sure": 0, "failed": 0}
                pairs = _escape_names(
                    _count_outcomes(_pair_outcomes(map(_read_listed, chunk), classifier, config), tally)
                )
                _write_part(part, _report_progress(pairs, bar.advance), classifier)
                write_json(tally_path, {**tally, "sha256": hash_file(part)})
            else:
                bar.advance(len(chunk))
            tallies.append(tally)
    _join_parts(path, [parts / f"{number:06}{path.suffix.lower()}" for number in range(len(tallies))], classifier)
    return {key: sum(tally[key] for tally in tallies) for key in ("sure", "not_sure", "failed")}


def _read_tally(path: Path, part: Path) -> Tally | None:
    """Return what a finished part counted; None where it is not finished, or damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = read_json(path)
        if found["sha256"] == hash_file(part):
            return {key: int(found[key]) for key in ("sure", "not_sure", "failed")}
    return None


def _begin_parts(parts: Path, paths: Sequence[str | Path], classifier: Classifier, config: ClassifyConfig) -> Path:
    """List the files, a JSON text a line, or keep the list of an earlier call that was stopped, if it was the same."""
    network = classifier.description.get("network", classifier.description.get("weights"))
    asked = hash_json([[escape_name(str(Path(index).absolute())) for index in paths], network, config.target_precision])
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
    files = list_entries([Path(index) for index in paths])
    with write_whole(listed) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(_describe_listed(each))}\n" for each in files)
    write_json(known, hash_json([asked, hash_file(listed)]))
    return listed


def _describe_listed(listed: Listed) -> str | list[str]:
    path, failure = listed
    return str(path) if failure is None else [str(path), failure.code, failure.reason]


def _read_listed(described: str | list[str]) -> Listed:
    if isinstance(described, str):
        return Listed(Path(described))
    path, code, reason = described
    return Listed(Path(path), Failure(code, reason))


def _pair_outcomes(
    files: Iterable[Listed], classifier: Classifier, config: ClassifyConfig, *, explain: bool = False
) -> Iterator[Pair]:
    """Yield each file's name with its outcome."""
    # Names run ahead of outcomes by the few chunks that are being worked on.
    names: deque[str] = deque()

    def note() -> Iterator[Path | Failure]:
        for path, failure in files:
            names.append(str(path))
            yield path if failure is None else failure

    for outcome in classify_photographs(classifier, note(), precision=config.target_precision, explain=explain):
        yield names.popleft(), outcome


def _count_outcomes(pairs: Iterable[Pair], tally: Tally) -> Iterator[Pair]:
    for name, outcome in pairs:
        key = ("sure" if outcome.is_sure else "not_sure") if isinstance(outcome, Prediction) else "failed"
        tally[key] += 1
        yield name, outcome


def _escape_names(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Yield pairs with names that every output can hold."""
    for name, outcome in pairs:
        yield escape_name(name), outcome


def _report_progress(pairs: Iterable[Pair], advance: Callable[[], object]) -> Iterator[Pair]:
    for pair in pairs:
        yield pair
        advance()


def _write_part(path: Path, pairs: Iterator[Pair], classifier: Classifier) -> None:
    label_space = classifier.label_space
    if path.suffix == ".parquet":
        batch = output.make_batch(list(pairs), label_space)
        with write_whole(path) as temporary:
            output.write_parquet_file(temporary, [batch], batch.schema)
        return
    lines = (
        output.write_csv_lines(pairs, label_space, header=False)
        if path.suffix == ".csv"
        else output.write_json_lines(pairs)
    )
    with (
        write_whole(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(lines)


def _join_parts(path: Path, parts: Sequence[Path], classifier: Classifier) -> None:
    label_space = classifier.label_space
    if path.suffix.lower() == ".parquet":
        from arro3.io import read_parquet  # noqa: PLC0415

        batches = (batch for part in parts for batch in read_parquet(part))
        with write_whole(path) as temporary:
            output.write_parquet_file(temporary, batches, output.make_batch([], label_space).schema)
        return
    with write_whole(path) as temporary, temporary.open("wb") as file:
        if path.suffix.lower() == ".csv":
            file.write("".join(output.write_csv_lines([], label_space)).encode())
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)
