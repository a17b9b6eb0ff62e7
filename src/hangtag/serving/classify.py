"""Stage `classify`: labels for photograph files, told at once or written to a file of any length."""

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
from typing import Literal

from hangtag.artifacts import hash_file, hash_json, is_alive, read_json, write_json, write_whole
from hangtag.catalog.files import escape_name
from hangtag.config import ClassifyConfig
from hangtag.errors import SettingsError
from hangtag.inference.answer import Answer
from hangtag.inference.classifier import Classifier
from hangtag.inference.stream import Failure, classify_photographs
from hangtag.lock import LOCK, hold_folder
from hangtag.progress import show_progress
from hangtag.serving import rows
from hangtag.serving.explained import write_explained
from hangtag.serving.listing import Listed, list_entries
from hangtag.serving.rows import Pair
from hangtag.staging import unlink

PART = 10_000
OUTPUTS = (".csv", ".jsonl", ".parquet")
Form = Literal["table", "json", "csv"]
Tally = dict[str, int]


def classify(
    places: Sequence[str | Path],
    classifier: Classifier,
    config: ClassifyConfig = ClassifyConfig(),  # noqa: B008  (frozen)
    *,
    form: Form = "table",
    write: Callable[[str], object] | None = None,
    explain: str | Path | None = None,
) -> Tally:
    """Classify photographs and tell each as soon as it is known.

    Args:
        places: Files and folders.
        classifier: The model.
        config: Settings.
        form: How to tell; `json` is an object a line.
        write: Takes the text; by default it is printed.
        explain: A folder for a PNG of each photograph with a map over it of where the model looked, named as it;
            what is there already stays, and the new one gets a number.

    Returns:
        How many were `sure`, `not_sure` and `failed`.

    Raises:
        CatalogError: A place does not exist or cannot be read.
        ModelError: The model cannot show where it looked.
    """
    tally: Tally = {"sure": 0, "not_sure": 0, "failed": 0}
    files = list_entries([Path(place) for place in places])
    pairs = _count(_pair(files, classifier, config, explain=explain is not None), tally)
    if explain is not None:
        pairs = write_explained(pairs, Path(explain))
    pairs = _name(pairs)
    if form == "json":
        lines = rows.write_json_lines(pairs)
    elif form == "csv":
        lines = rows.write_csv_lines(pairs, classifier.outputs)
    else:
        lines = rows.write_table_lines(pairs, classifier.outputs)
    for line in lines:
        (write or sys.stdout.write)(line)
    return tally


def classify_to(
    output: str | Path,
    places: Sequence[str | Path],
    classifier: Classifier,
    config: ClassifyConfig = ClassifyConfig(),  # noqa: B008  (frozen)
) -> Tally:
    """Classify photographs into a `.csv`, `.jsonl` or `.parquet` file; after a kill the same call goes on.

    The files are listed once, and every 10,000 of them are a part that is written whole, in a folder beside
    the output; at the end the parts become the output and the folder goes away.

    Args:
        output: The file to write.
        places: Files and folders.
        classifier: The model.
        config: Settings.

    Returns:
        How many were `sure`, `not_sure` and `failed`.

    Raises:
        SettingsError: The output has another suffix.
        CatalogError: A place does not exist or cannot be read.
    """
    path = Path(output)
    if path.suffix.lower() not in OUTPUTS:
        raise SettingsError(
            "The output's kind is not known.", allowed=f"Allowed: {', '.join(OUTPUTS)}.", received=path.name
        )
    parts = path.with_name(f"{path.name}.parts")
    with hold_folder("classify", parts):
        try:
            tally = _classify_parts(path, parts, places, classifier, config)
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
    path: Path, parts: Path, places: Sequence[str | Path], classifier: Classifier, config: ClassifyConfig
) -> Tally:
    files = _begin(parts, places, classifier, config)
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
                pairs = _name(_count(_pair(map(_read_listed, chunk), classifier, config), tally))
                _write_part(part, _watch(pairs, bar.advance), classifier)
                write_json(tally_path, {**tally, "sha256": hash_file(part)})
            else:
                bar.advance(len(chunk))
            tallies.append(tally)
    _join(path, [parts / f"{number:06}{path.suffix.lower()}" for number in range(len(tallies))], classifier)
    return {key: sum(tally[key] for tally in tallies) for key in ("sure", "not_sure", "failed")}


def _read_tally(path: Path, part: Path) -> Tally | None:
    """Return what a finished part counted; None where it is not finished, or damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = read_json(path)
        if found["sha256"] == hash_file(part):
            return {key: int(found[key]) for key in ("sure", "not_sure", "failed")}
    return None


def _begin(parts: Path, places: Sequence[str | Path], classifier: Classifier, config: ClassifyConfig) -> Path:
    """List the files, a JSON text a line, or keep the list of an earlier call that was stopped, if it was the same."""
    network = classifier.description.get("network", classifier.description.get("weights"))
    asked = hash_json(
        [[escape_name(str(Path(place).absolute())) for place in places], network, config.wanted_precision]
    )
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
    files = list_entries([Path(place) for place in places])
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


def _pair(
    files: Iterable[Listed], classifier: Classifier, config: ClassifyConfig, *, explain: bool = False
) -> Iterator[Pair]:
    """Give each file's name with what is said of it."""
    # Names run ahead of outcomes by the few chunks that are being worked on.
    names: deque[str] = deque()

    def note() -> Iterator[Path | Failure]:
        for path, failure in files:
            names.append(str(path))
            yield path if failure is None else failure

    for outcome in classify_photographs(classifier, note(), precision=config.wanted_precision, explain=explain):
        yield names.popleft(), outcome


def _count(pairs: Iterable[Pair], tally: Tally) -> Iterator[Pair]:
    for name, outcome in pairs:
        key = ("sure" if outcome.is_sure else "not_sure") if isinstance(outcome, Answer) else "failed"
        tally[key] += 1
        yield name, outcome


def _name(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Yield pairs with names that every output can hold."""
    for name, outcome in pairs:
        yield escape_name(name), outcome


def _watch(pairs: Iterable[Pair], advance: Callable[[], object]) -> Iterator[Pair]:
    for pair in pairs:
        yield pair
        advance()


def _write_part(path: Path, pairs: Iterator[Pair], classifier: Classifier) -> None:
    outputs = classifier.outputs
    if path.suffix == ".parquet":
        batch = rows.make_batch(list(pairs), outputs)
        with write_whole(path) as temporary:
            rows.write_parquet_file(temporary, [batch], batch.schema)
        return
    lines = (
        rows.write_csv_lines(pairs, outputs, header=False) if path.suffix == ".csv" else rows.write_json_lines(pairs)
    )
    with (
        write_whole(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(lines)


def _join(path: Path, parts: Sequence[Path], classifier: Classifier) -> None:
    outputs = classifier.outputs
    if path.suffix.lower() == ".parquet":
        from arro3.io import read_parquet  # noqa: PLC0415

        batches = (batch for part in parts for batch in read_parquet(part))
        with write_whole(path) as temporary:
            rows.write_parquet_file(temporary, batches, rows.make_batch([], outputs).schema)
        return
    with write_whole(path) as temporary, temporary.open("wb") as file:
        if path.suffix.lower() == ".csv":
            file.write("".join(rows.write_csv_lines([], outputs)).encode())
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)
