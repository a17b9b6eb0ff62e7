"""Stage `prepare`: read, check and pack every row and photograph of a catalogue."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from hangtag.catalog.decoded_store import FILE as DECODED
from hangtag.catalog.decoded_store import DecodedStore, stamp_photographs
from hangtag.catalog.files import escape_name
from hangtag.catalog.image_files import Decoded, Rejected, count_holders, keep_rows, pack_photographs
from hangtag.catalog.image_tree import SPLIT_FOLDERS, find_split
from hangtag.catalog.prepared_items import CHANGES, OTHERS, compare_items, count_missing
from hangtag.catalog.reader import RawCatalog, is_url, read_catalog, read_file_name
from hangtag.catalog.rejections import (
    Candidate,
    Rejection,
    check_rows,
    describe_unused,
    explain_list,
    explain_nothing_usable,
    find_unused,
    tabulate_rejections,
)
from hangtag.catalog.table import Rows
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError
from hangtag.io import expand_home, hash_json, write_csv, write_parquet, write_whole
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.results import PrepareResult, StageResult
from hangtag.runner_config import RunnerConfig
from hangtag.workspace import OTHER_IMAGES, OTHER_PHOTOGRAPHS, Workspace

REPAIRED = {"line": pl.Int64, "column": pl.String, "before": pl.String, "after": pl.String, "reason": pl.String}
# The code of an other photograph of more than `MAX_HOLDERS` products, such as a size chart or a logo.
SHARED, MAX_HOLDERS = "shared_photograph", 5
KEPT = "; the product is kept with its other photographs"


def prepare(
    catalog: str | Path,
    workspace: str | Path | Workspace,
    config: PrepareConfig = PrepareConfig(),  # noqa: B008  (frozen)
    *,
    schema: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    runner: RunnerConfig = RunnerConfig(),  # noqa: B008
) -> PrepareResult:
    """Read a catalogue and pack its photographs once, so that no later stage decodes them again.

    Writes `prepared/items.parquet` (the rows), `images.npy` (the pixels of the first usable photograph of each, uint8
    n x H x W x 3), and `rejected.csv`, which has a line with a code and a reason for every row and every photograph
    that is left out. Where products have several photographs, the others are in `other_photographs.parquet` and
    `other_images.npy`; without those that more than five products share, as size charts, which show no product. If
    the workspace has an earlier result, `changes.csv` lists the items that are new, changed or removed.

    Args:
        catalog: A folder, a `.zip`, or a `.csv` file.
        workspace: The folder to write to.
        config: Settings.
        schema: A TOML file that describes the catalogue; see docs/data.md.
        overrides: Single entries of that description, over the file's.
        runner: Where photographs are decoded; see docs/scaling.md. They are downloaded by this process.

    Raises:
        CatalogError: The catalogue cannot be read, or not one item of it can be used.
        RunnerError: The Ray cluster cannot be used.
    """
    workspace = Workspace.at(workspace)
    described_by = Path(schema) if schema else None
    raw = read_catalog(expand_home(catalog), described_by, overrides, workspace=workspace.root)
    inputs = {
        "catalog": raw.source.fingerprint(),
        "description": hash_json([raw.base, raw.schema.to_json(), raw.taxonomy_text]),
    }
    settings: dict[str, object] = {
        "image_size": config.image_size,
        "max_pixels": config.max_pixels,
        "max_bytes": config.max_bytes,
    }
    if not config.download:
        settings["download"] = False
    if config.fit != PrepareConfig.fit:
        # Left out where it is usual, so that workspaces from before it stay as they are.
        settings["fit"] = config.fit
    record = StageRecord("prepare", workspace.prepared, inputs, settings)
    with hold("prepare", workspace, writes=[workspace.prepared], create=True):
        current = record.load_if_unchanged()
        if current and not current.metrics.get("failed_downloads"):
            # The same catalogue may lie somewhere else by now.
            record.update(origin=_describe_origin(raw))
            return PrepareResult.of(current)
        return PrepareResult.of(_prepare_catalog(record, raw, config, runner))


@dataclass
class _Packed:
    """What became of the photographs, by their indices among the candidates.

    Attributes:
        outcomes: The outcome of each.
        first: The first usable photograph of each item, in the order of `images.npy`.
        others: The others, in the order of `other_images.npy`.
    """

    outcomes: list[Decoded | Rejected]
    first: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)


def _prepare_catalog(record: StageRecord, raw: RawCatalog, config: PrepareConfig, runner: RunnerConfig) -> StageResult:
    _check_splits(raw)
    candidates, rejected = check_rows(raw)
    store = DecodedStore(record.folder, raw.source, config)
    packed = _pack_candidates(record, raw, config, candidates, store, runner)
    lines = [*rejected, *_list_rejected(candidates, packed)]
    if not packed.first:
        raise explain_nothing_usable(raw, record.folder, lines)
    rows = {each.row for each in candidates} - {candidates[index].row for index in packed.first}
    unused = find_unused(raw, [each.path for each in candidates] + [line.image_path for line in rejected])
    result = _write_prepared(record, raw, candidates, packed, lines, len(rejected) + len(rows), store.key, unused)
    store.clear()
    return result


def _pack_candidates(
    record: StageRecord,
    raw: RawCatalog,
    config: PrepareConfig,
    candidates: Sequence[Candidate],
    store: DecodedStore,
    runner: RunnerConfig,
) -> _Packed:
    """Download and decode the photographs, and write the pixels of the first usable one of each item and of others."""
    files = _find_files([each.path for each in candidates], record.folder.parent, config)
    there = [index for index, file in enumerate(files) if not isinstance(file, Rejected)]
    paths = [file for file in files if not isinstance(file, Rejected)]
    stamps = stamp_photographs(raw.source, paths)
    work = record.begin()
    with write_whole(work / "images.npy") as first, write_whole(work / OTHER_IMAGES) as other:
        items = [candidates[index].row for index in there]
        results = iter(pack_photographs(raw.source, paths, config, (first, other), store, stamps, items, runner))
    packed = _Packed([file if isinstance(file, Rejected) else next(results) for file in files])
    done: set[int] = set()
    for index, (file, outcome) in enumerate(zip(files, packed.outcomes, strict=True)):
        if isinstance(outcome, Decoded):
            (packed.others if candidates[index].row in done else packed.first).append(index)
            done.add(candidates[index].row)
        elif isinstance(file, Path):
            # What was downloaded is no photograph that can be used; the next time may be better.
            file.unlink(missing_ok=True)
    if packed.others:
        _leave_out_shared(work, raw, candidates, packed)
    if not packed.others:
        (work / OTHER_IMAGES).unlink()
    others = set(packed.others)
    # Sorted as the pixels are: those of others are in a file of their own.
    order = sorted(range(len(there)), key=lambda position: there[position] in others)
    outcomes = [packed.outcomes[there[position]] for position in order]
    names, stamps = [str(paths[position]) for position in order], [stamps[position] for position in order]
    store.write(work / DECODED, names, stamps, outcomes)
    return packed


def _leave_out_shared(work: Path, raw: RawCatalog, candidates: Sequence[Candidate], packed: _Packed) -> None:
    """Leave out the other photographs that many products have: they show none of them, and would join all."""
    images, others = (np.load(work / name, mmap_mode="r") for name in ("images.npy", OTHER_IMAGES))
    rows = {candidates[index].row: position for position, index in enumerate(packed.first)}
    owners = [rows[candidates[index].row] for index in packed.others]
    products: list[str | None] = [None] * len(images)
    if raw.schema.group:
        groups = _read_column(raw, raw.schema.group, [candidates[index] for index in packed.first])
        products = [None if raw.schema.is_missing(group) else group for group in groups]
    counts = count_holders(images, others, owners, products)
    if max(counts) <= MAX_HOLDERS:
        return
    for index, count in zip(packed.others, counts, strict=True):
        if count > MAX_HOLDERS:
            reason = f"{count:,} products have the same photograph, as a size chart or a logo"
            packed.outcomes[index] = Rejected(SHARED, reason)
    keep_rows(work / OTHER_IMAGES, [row for row, count in enumerate(counts) if count <= MAX_HOLDERS])
    packed.others = [index for index, count in zip(packed.others, counts, strict=True) if count <= MAX_HOLDERS]


def _find_files(paths: Sequence[str], workspace: Path, config: PrepareConfig) -> list[str | Path | Rejected]:
    """Return where each photograph is: a path in the catalogue, a downloaded file, or why there is none."""
    urls = [path for path in paths if is_url(path)]
    if not urls:
        return list(paths)
    found: dict[str, Path | Rejected] = {}
    if config.download:
        from hangtag.catalog.downloads import DownloadSettings, download_photographs  # noqa: PLC0415  (rarely needed)

        settings = DownloadSettings(max_bytes=config.max_bytes, allow_private_addresses=config.allow_private_addresses)
        found = dict(zip(urls, download_photographs(urls, Workspace.at(workspace).downloads, settings), strict=True))
    missing = "the catalogue has no file called {}, or several, and photographs are not downloaded (--download)"
    return [
        found.get(path)
        or (Rejected("missing_photograph", missing.format(read_file_name(path))) if is_url(path) else path)
        for path in paths
    ]


def _check_splits(raw: RawCatalog) -> None:
    """Refuse values of the split column that name no split: their rows would be in none."""
    if not raw.schema.split:
        return
    values = {row.get(raw.schema.split, "") for row in raw.rows}
    unknown = sorted(value for value in values if not raw.schema.is_missing(value) and not _read_split(value))
    if unknown:
        raise CatalogError(
            f"The column {raw.schema.split} says splits that hangtag does not know.",
            allowed=f"Allowed: {', '.join(SPLIT_FOLDERS)}, in capitals or not, or an empty cell.",
            received=unknown[:5],
            hint="Leave the column out of --split-column and catalog.toml to split the items anew.",
        )


def _list_rejected(candidates: Sequence[Candidate], packed: _Packed) -> list[Rejection]:
    """Return a line for each photograph that cannot be used."""
    kept = {candidates[index].row for index in packed.first}
    return [
        Rejection(
            candidate.item_id,
            candidate.path,
            outcome.code,
            outcome.reason + explain_list(candidate.path, outcome.code) + (KEPT if candidate.row in kept else ""),
        )
        for candidate, outcome in zip(candidates, packed.outcomes, strict=True)
        if isinstance(outcome, Rejected)
    ]


def _describe_photographs(candidates: Sequence[Candidate], packed: _Packed, indices: Sequence[int]) -> pl.DataFrame:
    """Return the table of some photographs, with the columns of `OTHERS`."""
    rows = []
    for index in indices:
        _, item_id, path, order = candidates[index]
        found = packed.outcomes[index]
        assert isinstance(found, Decoded)
        path = path if is_url(path) else posixpath.normpath(path)
        rows.append((item_id, path, found.width, found.height, found.mode, order))
    return pl.DataFrame(rows, schema=OTHERS, orient="row")


def _tabulate_items(raw: RawCatalog, candidates: Sequence[Candidate], packed: _Packed) -> pl.DataFrame:
    """Return the table of items, which have the first usable photograph of each."""
    kept = [candidates[index] for index in packed.first]
    described = _describe_photographs(candidates, packed, packed.first).drop("order")
    described = described.rename({name: f"image_{name}" for name in ("width", "height", "mode")})
    given = _read_column(raw, raw.schema.split, kept) if raw.schema.split else [None] * len(kept)
    splits = pl.Series("given_split", [_read_split(value) for value in given], pl.String)
    columns = [pl.Series(column, _read_column(raw, column, kept), pl.String) for column in raw.schema.columns]
    return described.with_columns(splits, *columns)


def _read_column(raw: RawCatalog, column: str, kept: Sequence[Candidate]) -> list[str | None]:
    if isinstance(raw.rows, Rows):
        values = raw.rows.cells[raw.rows.columns.index(column)]
        return [values[each.row] for each in kept]
    return [raw.rows[each.row].get(column) for each in kept]


def _read_split(value: str | None) -> str | None:
    """Return the split that a cell says, in any spelling that a folder may have; None for any other text."""
    return find_split(value.strip()) if value and value.strip() else None


def _write_prepared(
    record: StageRecord,
    raw: RawCatalog,
    candidates: Sequence[Candidate],
    packed: _Packed,
    rejected: list[Rejection],
    rejected_rows: int,
    decoded_key: str,
    unused: list[str],
) -> StageResult:
    names = ("items.parquet", "images.npy", "rejected.csv", "repaired.csv", DECODED)
    paths = [record.work / name for name in names]
    table = _tabulate_items(raw, candidates, packed)
    write_parquet(paths[0], table)
    if packed.others:
        paths += [record.work / OTHER_IMAGES, record.work / OTHER_PHOTOGRAPHS]
        write_parquet(paths[-1], _describe_photographs(candidates, packed, packed.others))
    write_csv(paths[2], tabulate_rejections(rejected + describe_unused(unused)))
    write_csv(paths[3], pl.DataFrame(raw.repairs, schema=REPAIRED, orient="row"))
    unread, not_used = len(raw.skipped_folders), sum(code == "not_used" for _, code, _ in raw.skipped_folders)
    counts: dict[str, object] = {
        "rows": len(raw.rows) + raw.num_merged + len(raw.skipped) + len(raw.broken) + unread - not_used,
        "items": len(table),
        "rejected": rejected_rows - not_used,
        "repaired_rows": raw.num_repaired,
    }
    if not_used:
        # Lines of `rejected.csv` for files that are no photographs.
        counts["not_used"] = not_used
    if unused:
        counts["unused_photographs"] = len(unused)
    if raw.encoding:
        counts["encoding"] = raw.encoding
    if failed := sum(is_url(line.image_path) and line.code != SHARED for line in rejected):
        # Such photographs are tried again the next time.
        counts["failed_downloads"] = failed
    if raw.schema.layout not in ("", "capstone"):
        counts["layout"] = raw.schema.layout
    counts |= raw.notes
    changes = compare_items(record.folder, record.work, record.settings)
    if changes is not None:
        # Against the earlier result, which `finish` replaces.
        paths.append(record.work / CHANGES)
        write_csv(paths[-1], changes)
        counts |= {f"{change}_items": changes["change"].eq(change).sum() for change in ("new", "changed", "removed")}
    if len(raw.tables) > 1:
        counts["tables"] = len(raw.tables)
    if raw.num_merged:
        counts["merged_rows"] = raw.num_merged
    if packed.others:
        counts["other_photographs"] = len(packed.others)
    if left_out := len(rejected) - rejected_rows:
        counts["rejected_photographs"] = left_out
    missing = count_missing(table, raw.schema)
    find_heading = raw.schema.find_heading
    if without := {find_heading(level): missing[level] for level in raw.schema.levels if level in missing}:
        # Told where it happens: such items have no label at that level.
        counts["missing"] = without
    repaired = [raw.rows[position][raw.schema.id] for position in raw.repaired_rows]
    return record.finish(
        counts,
        paths,
        schema=raw.schema.to_json(),
        taxonomy_text=raw.taxonomy_text,
        repaired_item_ids=repaired,
        missing_cells=missing,
        decoded_key=decoded_key,
        # Where the originals are: for `review` to show them, and for `apply` to correct the table.
        origin=_describe_origin(raw),
    )


def _describe_origin(raw: RawCatalog) -> dict[str, object]:
    table = raw.base + raw.schema.table if raw.schema.table else ""
    parts = {"tables": raw.tables} if len(raw.tables) > 1 else {}
    return {"catalog": escape_name(str(raw.source.path)), "table": table, **parts}
