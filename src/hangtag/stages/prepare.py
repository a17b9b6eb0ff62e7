"""Stage `prepare`: read, check and pack every row and photograph of a catalogue."""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.decoded_store import FILE as DECODED
from hangtag.catalog.decoded_store import DecodedStore, stamp_photographs
from hangtag.catalog.files import escape_name
from hangtag.catalog.image_files import count_holders, keep_rows, pack_photographs
from hangtag.catalog.image_tree import SPLIT_FOLDERS, find_split
from hangtag.catalog.photograph_table import Indices, Outcomes, Photographs, Rejected, collect_texts
from hangtag.catalog.prepared_items import CHANGES, OTHERS, compare_items, count_missing
from hangtag.catalog.reader import RawCatalog, is_url, read_catalog, read_file_name
from hangtag.catalog.rejections import (
    Candidates,
    Rejection,
    check_rows,
    describe_unused,
    explain_list,
    explain_nothing_usable,
    find_unused,
    tabulate_rejections,
)
from hangtag.catalog.schema import read_id
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

    outcomes: Outcomes
    first: Indices
    others: Indices


def _prepare_catalog(record: StageRecord, raw: RawCatalog, config: PrepareConfig, runner: RunnerConfig) -> StageResult:
    _check_splits(raw)
    candidates, rejected = check_rows(raw)
    store = DecodedStore(record.folder, raw.source, config)
    packed = _pack_candidates(record, raw, config, candidates, store, runner)
    lines = [*rejected, *_list_rejected(candidates, packed)]
    if not len(packed.first):
        raise explain_nothing_usable(raw, record.folder, lines)
    num_rejected = len(rejected) + len(np.unique(candidates.rows)) - len(packed.first)
    unused = find_unused(raw, candidates, rejected)
    result = _write_prepared(record, raw, candidates, packed, lines, num_rejected, store.key, unused)
    store.clear()
    return result


def _pack_candidates(
    record: StageRecord,
    raw: RawCatalog,
    config: PrepareConfig,
    candidates: Candidates,
    store: DecodedStore,
    runner: RunnerConfig,
) -> _Packed:
    """Download and decode the photographs, and write the pixels of the first usable one of each item and of others."""
    files = _find_files(candidates.paths, record.folder.parent, config)
    there = np.delete(np.arange(len(candidates), dtype=np.int32), list(files.missing))
    paths, is_elsewhere, rows = files.paths, files.is_elsewhere, candidates.rows
    if files.missing:
        paths, is_elsewhere, rows = paths.gather(there), is_elsewhere[there], rows[there]
    photographs = Photographs(paths, is_elsewhere, stamp_photographs(raw.source, paths, is_elsewhere), rows)
    work = record.begin()
    with write_whole(work / "images.npy") as first, write_whole(work / OTHER_IMAGES) as other:
        outcomes = pack_photographs(raw.source, photographs, config, (first, other), store, runner)
    packed = _sort_outcomes(candidates, files, outcomes)
    for index in np.flatnonzero(files.is_elsewhere & ~packed.outcomes.find_decoded()).tolist():
        # What was downloaded is no photograph that can be used; the next time may be better.
        Path(files.paths[index]).unlink(missing_ok=True)
    if len(packed.others):
        _leave_out_shared(work, raw, candidates, packed)
    if not len(packed.others):
        (work / OTHER_IMAGES).unlink()
    # Sorted as the pixels are: those of others are in a file of their own.
    order = np.concatenate([packed.first, packed.others])
    store.write(work / DECODED, photographs, packed.outcomes, (np.searchsorted(there, order), order))
    return packed


def _sort_outcomes(candidates: Candidates, files: "_Files", outcomes: Outcomes) -> _Packed:
    """Return the outcome of every candidate, and which usable photographs are the first of their items."""
    if files.missing:
        found, outcomes = iter(outcomes), Outcomes()
        for index in range(len(candidates)):
            outcomes.append(files.missing.get(index) or next(found))
    usable = np.flatnonzero(outcomes.find_decoded())
    is_first = np.diff(candidates.rows[usable], prepend=-1) != 0
    return _Packed(outcomes, usable[is_first], usable[~is_first])


def _leave_out_shared(work: Path, raw: RawCatalog, candidates: Candidates, packed: _Packed) -> None:
    """Leave out the other photographs that many products have: they show none of them, and would join all."""
    images, others = (np.load(work / name, mmap_mode="r") for name in ("images.npy", OTHER_IMAGES))
    rows = candidates.rows[packed.first]
    owners = np.searchsorted(rows, candidates.rows[packed.others]).tolist()
    products: list[str | None] = [None] * len(images)
    if raw.schema.group:
        groups = _read_column(raw, raw.schema.group, rows)
        products = [None if raw.schema.is_missing(group) else group for group in groups]
    counts = np.array(count_holders(images, others, owners, products))
    if counts.max() <= MAX_HOLDERS:
        return
    is_shared = counts > MAX_HOLDERS
    for index, count in zip(packed.others[is_shared].tolist(), counts[is_shared].tolist(), strict=True):
        reason = f"{count:,} products have the same photograph, as a size chart or a logo"
        packed.outcomes.reject(index, Rejected(SHARED, reason))
    keep_rows(work / OTHER_IMAGES, np.flatnonzero(~is_shared).tolist())
    packed.others = packed.others[~is_shared]


@dataclass
class _Files:
    """Where each candidate's photograph is.

    Attributes:
        paths: The path of each, String (n,): in the catalogue, or of a downloaded file.
        is_elsewhere: Whether it is a downloaded file, (n,).
        missing: Why there is no such file, by the index.
    """

    paths: pl.Series
    is_elsewhere: npt.NDArray[np.bool_]
    missing: Mapping[int, Rejected]


def _find_files(paths: pl.Series, workspace: Path, config: PrepareConfig) -> _Files:
    """Return where each photograph is."""
    urls = [path for path in paths if is_url(path)]
    if not urls:
        return _Files(paths, np.zeros(len(paths), bool), {})
    found: dict[str, Path | Rejected] = {}
    if config.download:
        from hangtag.catalog.downloads import DownloadSettings, download_photographs  # noqa: PLC0415  (rarely needed)

        settings = DownloadSettings(max_bytes=config.max_bytes, allow_private_addresses=config.allow_private_addresses)
        found = dict(zip(urls, download_photographs(urls, Workspace.at(workspace).downloads, settings), strict=True))
    reason = "the catalogue has no file called {}, or several, and photographs are not downloaded (--download)"
    missing: dict[int, Rejected] = {}
    located, is_elsewhere = [], np.zeros(len(paths), bool)
    for index, path in enumerate(paths):
        file: str | Path | Rejected = path
        if is_url(path):
            file = found.get(path) or Rejected("missing_photograph", reason.format(read_file_name(path)))
        if isinstance(file, Rejected):
            missing[index] = file
        is_elsewhere[index] = isinstance(file, Path)
        located.append(path if isinstance(file, Rejected) else str(file))
    return _Files(collect_texts(located), is_elsewhere, missing)


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


def _list_rejected(candidates: Candidates, packed: _Packed) -> Iterator[Rejection]:
    """Yield a line for each photograph that cannot be used."""
    kept = np.isin(candidates.rows, candidates.rows[packed.first])
    for index in np.flatnonzero(~packed.outcomes.find_decoded()).tolist():
        candidate, outcome = candidates[index], packed.outcomes[index]
        assert isinstance(outcome, Rejected)
        reason = outcome.reason + explain_list(candidate.path, outcome.code) + (KEPT if kept[index] else "")
        yield Rejection(candidate.item_id, candidate.path, outcome.code, reason)


def _describe_photographs(raw: RawCatalog, candidates: Candidates, packed: _Packed, indices: Indices) -> pl.DataFrame:
    """Return the table of some photographs, with the columns of `OTHERS`."""
    paths = (path if is_url(path) else posixpath.normpath(path) for path in candidates.paths.gather(indices))
    rows = candidates.rows[indices]
    columns = {
        "item_id": collect_texts(read_id(cell or "") for cell in _read_column(raw, raw.schema.id, rows)),
        "image_path": collect_texts(paths),
        "order": candidates.orders[indices].astype(np.int64),
    }
    return pl.DataFrame(columns).hstack(packed.outcomes.describe(indices)).select(list(OTHERS))


def _tabulate_items(raw: RawCatalog, candidates: Candidates, packed: _Packed) -> pl.DataFrame:
    """Return the table of items, which have the first usable photograph of each."""
    rows = candidates.rows[packed.first]
    described = _describe_photographs(raw, candidates, packed, packed.first).drop("order")
    described = described.rename({name: f"image_{name}" for name in ("width", "height", "mode")})
    given = _read_column(raw, raw.schema.split, rows) if raw.schema.split else repeat(None, len(rows))
    splits = collect_texts(map(_read_split, given)).alias("given_split")
    columns = [collect_texts(_read_column(raw, column, rows)).alias(column) for column in raw.schema.columns]
    return described.with_columns(splits, *columns)


def _read_column(raw: RawCatalog, column: str, rows: Iterable[int]) -> Iterator[str | None]:
    """Yield the cells of some rows."""
    if isinstance(raw.rows, Rows):
        values = raw.rows.cells[raw.rows.columns.index(column)]
        return (values[row] for row in rows)
    return (raw.rows[row].get(column) for row in rows)


def _read_split(value: str | None) -> str | None:
    """Return the split that a cell says, in any spelling that a folder may have; None for any other text."""
    return find_split(value.strip()) if value and value.strip() else None


def _write_prepared(
    record: StageRecord,
    raw: RawCatalog,
    candidates: Candidates,
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
    if len(packed.others):
        paths += [record.work / OTHER_IMAGES, record.work / OTHER_PHOTOGRAPHS]
        write_parquet(paths[-1], _describe_photographs(raw, candidates, packed, packed.others))
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
    if len(packed.others):
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
