"""Predict listed files, and write the predictions of any number of them as parts, which become one file in the end."""

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hangtag.catalog.files import escape_name
from hangtag.config import ClassifyConfig
from hangtag.console import show_progress
from hangtag.errors import ModelError, SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import Failure, Photo, classify_photographs
from hangtag.io import hash_file, hash_json, read_json, write_json, write_whole
from hangtag.lock import LOCK
from hangtag.manifest import read_version
from hangtag.models.shipped import SHIPPED
from hangtag.ray_tasks import TaskPlan
from hangtag.runner_config import RunnerConfig
from hangtag.serving import output
from hangtag.serving.output import Group, Listed, Pair, group_entries, list_entries
from hangtag.shards import ShardWork, Slot, local_field, run_shards
from hangtag.workspace import unlink

# Files or products of a part: a multiple of the photographs that a thread predicts at once.
PART = 2048
Tally = dict[str, int]
# What the parts were made for; see `_list_files`.
ASKED = "asked.json"
OUTCOMES = ("sure", "not_sure", "out_of_distribution", "failed")


def list_inputs(paths: Sequence[str | Path], group_by: str | None) -> Iterable[Listed | Group]:
    """List the files of paths, or the products that they belong to; see `list_entries` and `group_entries`."""
    files = list_entries([Path(path) for path in paths])
    return files if group_by is None else group_entries(files, group_by)


def pair_outcomes(
    files: Iterable[Listed | Group],
    classifier: Classifier,
    config: ClassifyConfig,
    *,
    explain: bool = False,
    workers: int | None = None,
    base: Path = Path(),
) -> Iterator[Pair]:
    """Yield the name of each file or product with its outcome.

    Args:
        files: The files or products.
        classifier: The model.
        config: Settings.
        explain: Whether predictions have heatmaps.
        workers: The number of threads; see `classify_photographs`.
        base: The folder of relative paths; by default that of the process.
    """
    # Names run ahead of outcomes by the few chunks that are being worked on.
    names: deque[str] = deque()

    def note() -> Iterator[Photo | list[Photo]]:
        for each in files:
            if isinstance(each, Group):
                names.append(each.name)
                yield [base / path if failure is None else failure for path, failure in each.entries]
            else:
                names.append(str(each.path))
                yield base / each.path if each.failure is None else each.failure

    outcomes = classify_photographs(
        classifier, note(), precision=config.target_precision, workers=workers, explain=explain
    )
    for outcome in outcomes:
        yield names.popleft(), outcome


def count_outcomes(pairs: Iterable[Pair], tally: Tally) -> Iterator[Pair]:
    """Yield pairs, and count them by the keys of `OUTCOMES`."""
    for name, outcome in pairs:
        tally[_find_key(outcome)] += 1
        yield name, outcome


def _find_key(outcome: Prediction | Failure) -> str:
    if not isinstance(outcome, Prediction):
        return "failed"
    if not outcome.in_distribution:
        return "out_of_distribution"
    return "sure" if outcome.is_sure else "not_sure"


def escape_names(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Yield pairs with names that every output can hold."""
    for name, outcome in pairs:
        yield escape_name(name), outcome


def _report_progress(pairs: Iterable[Pair], advance: Callable[[int], object]) -> Iterator[Pair]:
    for pair in pairs:
        yield pair
        advance(1)


def write_in_parts(
    path: Path,
    parts: Path,
    paths: Sequence[str | Path],
    classifier: Classifier,
    config: ClassifyConfig,
    group_by: str | None,
    runner: RunnerConfig,
) -> Tally:
    """Predict files into an output of any length; parts that an earlier call has finished are not predicted again.

    Args:
        path: The output, a `.csv`, `.jsonl` or `.parquet` file.
        parts: The folder of the parts, which this process has locked.
        paths: Files and folders.
        classifier: The model.
        config: Settings.
        group_by: How files belong to products; see `group_entries`.
        runner: Where parts are predicted.

    Returns:
        How many files or products have each of the `OUTCOMES`.

    Raises:
        CatalogError: A path does not exist or cannot be read.
        SettingsError: No file fits `group_by`, or the classifier cannot be loaded by other processes.
        RunnerError: The Ray cluster cannot be used.
    """
    # Processes of other machines have another working directory.
    listed, by_product = _list_files(parts.absolute(), paths, classifier, config, group_by), group_by is not None
    shards = _cut_list(listed)
    work = _Predicting(
        listed,
        read_json(parts / ASKED)[:16],
        path.suffix.lower(),
        by_product,
        config,
        Path.cwd(),
        _find_model(classifier) if runner.runner == "ray" else None,
        _identify(classifier),
        classifier,
    )
    shared = {each if each.is_dir() else each.parent for each in (Path(index).absolute() for index in paths)}
    model = () if work.model is None else (work.model,)
    unit = "products" if by_product else "photographs"
    plan = TaskPlan("classify", len(shards), parts, (*sorted(shared), *model))
    with (
        show_progress("Classifying", sum(each.size for each in shards), unit) as bar,
        run_shards(work, shards, plan, runner, advance=bar.advance) as results,
    ):
        tallies = list(results)
    _join_parts(path, [work.find_file(each) for each in shards], classifier, by_product=by_product)
    return {key: sum(tally[key] for tally in tallies) for key in OUTCOMES}


class _Part(NamedTuple):
    """Some lines of the list of files: the part's number, the offset of its first line in bytes, and their number."""

    number: int
    offset: int
    size: int


@dataclass
class _Predicting(ShardWork[_Part, Tally]):
    """Predict the files of a part into a file of its own, with a manifest that is written last.

    Attributes:
        listed: The list of files, a JSON text a line.
        key: The beginning of the names of its files: a hash of the list, the model and the settings.
        suffix: The output's kind.
        by_product: Whether a line of the list is a product.
        config: Settings.
        base: The folder of relative paths.
        model: The folder of the model, for other processes; None for the one that comes with hangtag.
        network: The hashes of the model's network, which every process must have.
        classifier: The model, where it is loaded.
    """

    listed: Path
    key: str
    suffix: str
    by_product: bool
    config: ClassifyConfig
    base: Path
    model: Path | None
    network: Any
    classifier: Classifier | None = local_field()

    def find_file(self, part: _Part) -> Path:
        """Return the file of a part."""
        return self.listed.with_name(f"{self.key}-{part.number:06}{self.suffix}")

    def find(self, shard: _Part) -> Tally | None:
        """Return what a finished part counted; None where it is not finished, or damaged."""
        path = self.find_file(shard)
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = read_json(path.with_suffix(".json"))
            if found["sha256"] == hash_file(path):
                return {key: int(found[key]) for key in OUTCOMES}
        return None

    def weigh(self, shard: _Part) -> int:
        """Return the number of files or products."""
        return shard.size

    def run(self, shard: _Part, slot: Slot) -> Tally:
        """Predict a part, and return what it counted."""
        classifier, tally = self._load(slot.cpus), dict.fromkeys(OUTCOMES, 0)
        with self.listed.open("rb") as lines:
            lines.seek(shard.offset)
            files = [_read_listed(json.loads(lines.readline())) for _ in range(shard.size)]
        pairs = pair_outcomes(files, classifier, self.config, workers=2 * slot.cpus, base=self.base)
        path = self.find_file(shard)
        escaped = escape_names(count_outcomes(pairs, tally))
        _write_part(path, _report_progress(escaped, slot.advance), classifier, by_product=self.by_product)
        write_json(path.with_suffix(".json"), {**tally, "sha256": hash_file(path)})
        return tally

    def _load(self, cpus: int) -> Classifier:
        if self.classifier is None:
            classifier = Classifier.load(self.model, streams=cpus, threads=cpus)
            if _identify(classifier) != self.network:
                raise ModelError("The model of this node is another one.", received=str(self.model or SHIPPED))
            self.classifier = classifier
        return self.classifier


def _identify(classifier: Classifier) -> Any:
    """Return the hashes of a model's network."""
    return classifier.description.get("network", classifier.description.get("weights"))


def _find_model(classifier: Classifier) -> Path | None:
    """Return the folder from which other processes load the model; None for the one that comes with hangtag.

    Raises:
        SettingsError: The model was not loaded from a folder.
    """
    if classifier.folder is None:
        what = "A model that was not loaded from a folder cannot be used with {runner} ray."
        raise SettingsError(what, settings=["runner"])
    return None if classifier.folder == SHIPPED else classifier.folder.absolute()


def _cut_list(listed: Path) -> list[_Part]:
    """Return the parts of a list of files, in order."""
    starts, offset, count = [], 0, 0
    with listed.open("rb") as lines:
        for line in lines:
            if count % PART == 0:
                starts.append(offset)
            offset += len(line)
            count += 1
    return [_Part(number, start, min(PART, count - number * PART)) for number, start in enumerate(starts)]


def _list_files(
    parts: Path, paths: Sequence[str | Path], classifier: Classifier, config: ClassifyConfig, group_by: str | None
) -> Path:
    """List the files, a JSON text a line, or keep the list of an earlier call that was stopped, if it was the same."""
    names = [escape_name(str(Path(index).absolute())) for index in paths]
    asked = hash_json([names, _identify(classifier), config.target_precision, group_by, PART, read_version("hangtag")])
    known = parts / ASKED
    listed = parts / "files.jsonl"
    with suppress(OSError, ValueError):
        # What is damaged is made anew.
        if read_json(known) == hash_json([asked, hash_file(listed)]):
            return listed
    for stale in parts.iterdir():
        # The lock stays: without it the next process would think that nobody is here.
        if stale.name != LOCK:
            unlink(stale)
    files = list_inputs(paths, group_by)
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
