"""Stage `prepare`: read, check and pack every row and photograph of a catalogue."""

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import polars as pl

from hangtag.catalog.column_kinds import propose_pattern
from hangtag.catalog.decoded_store import FILE as DECODED
from hangtag.catalog.decoded_store import DecodedStore, stamp_photographs
from hangtag.catalog.files import escape_name
from hangtag.catalog.image_files import Decoded, Rejected, pack_photographs
from hangtag.catalog.image_tree import SPLIT_FOLDERS, find_split
from hangtag.catalog.images import PICTURE_SUFFIXES
from hangtag.catalog.name_index import fold_path
from hangtag.catalog.prepared_items import count_missing
from hangtag.catalog.reader import RawCatalog, is_url, read_catalog, read_file_name
from hangtag.catalog.schema import read_id
from hangtag.catalog.table import Rows
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError
from hangtag.io import hash_json, write_csv, write_parquet, write_whole
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.results import PrepareResult, StageResult
from hangtag.workspace import MANIFEST, Workspace

DESCRIBED = ("item_id", "image_path", "image_width", "image_height", "image_mode")
# Photographs that no row names have a line each in `rejected.csv`, up to so many.
MAX_UNUSED_LINES = 1000
REPAIRED = {"line": pl.Int64, "column": pl.String, "before": pl.String, "after": pl.String, "reason": pl.String}
REJECTED = {"item_id": pl.String, "image_path": pl.String, "code": pl.String, "reason": pl.String}


def prepare(
    catalog: str | Path,
    workspace: str | Path | Workspace,
    config: PrepareConfig = PrepareConfig(),  # noqa: B008  (frozen)
    *,
    schema: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
) -> PrepareResult:
    """Read a catalogue and pack its photographs once, so that no later stage decodes them again.

    Writes `prepared/items.parquet` (the rows), `images.npy` (their pixels, uint8 n x H x W x 3), and
    `rejected.csv`, which has a line with a code and a reason for every row that is left out.

    Args:
        catalog: A folder, a `.zip`, or a `.csv` file.
        workspace: The folder to write to.
        config: Settings.
        schema: A TOML file that describes the catalogue; see docs/data.md.
        overrides: Single entries of that description, over the file's.

    Raises:
        CatalogError: The catalogue cannot be read, or not one item of it can be used.
    """
    workspace = Workspace.at(workspace)
    described_by = Path(schema) if schema else None
    raw = read_catalog(Path(catalog).expanduser(), described_by, overrides, workspace=workspace.root)
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
        return PrepareResult.of(_prepare_catalog(record, raw, config))


def _prepare_catalog(record: StageRecord, raw: RawCatalog, config: PrepareConfig) -> StageResult:
    _check_splits(raw)
    candidates, rejected = _check_rows(raw)
    files = _find_files([each.path for each in candidates], record.folder.parent, config)
    paths = [file for file in files if not isinstance(file, Rejected)]
    store = DecodedStore(record.folder, raw.source, config)
    stamps = stamp_photographs(raw.source, paths)
    with write_whole(record.begin() / "images.npy") as target:
        results = pack_photographs(raw.source, paths, config, target, store, stamps)
    store.write(record.work / DECODED, list(map(str, paths)), stamps, results)
    packed = iter(results)
    outcomes = [file if isinstance(file, Rejected) else next(packed) for file in files]
    for file, outcome in zip(files, outcomes, strict=True):
        if isinstance(file, Path) and isinstance(outcome, Rejected):
            # What was downloaded is no photograph that can be used; the next time may be better.
            file.unlink(missing_ok=True)
    items, more = _tabulate_items(raw, candidates, outcomes)
    if not len(items):
        raise _explain_nothing_usable(raw, record.folder, [*rejected, *more])
    unused = _find_unused(raw, [each.path for each in candidates] + [line.image_path for line in rejected])
    result = _write_prepared(record, raw, items, rejected + more, store.key, unused)
    store.clear()
    return result


def _find_unused(raw: RawCatalog, named: Sequence[str]) -> list[str]:
    """Return the photographs of a catalogue with a table that no row names, in order."""
    # Of products with several photographs, not all of them are named here.
    if not raw.schema.table or raw.num_other_photographs:
        return []
    used = {posixpath.normpath(path) for path in named if path}
    files = (name for name in raw.source.names() if name.startswith(raw.base))
    left = [name for name in files if name not in used and PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES]
    folded = {fold_path(path.replace("\\", "/")) for path in used} if left else set()
    return [name for name in left if fold_path(name) not in folded]


def _explain_nothing_usable(raw: RawCatalog, folder: Path, rejected: Sequence["_Line"]) -> CatalogError:
    """Write `rejected.csv`, and return an error with the first path that was tried and a file that is there."""
    # An earlier result keeps its own list.
    path = (folder.parent if (folder / MANIFEST).exists() else folder) / "rejected.csv"
    write_csv(path, _tabulate_lines(rejected))
    files = [name.removeprefix(raw.base) for name in raw.source.names() if name.startswith(raw.base)]
    pictures = [name for name in files if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES]
    tried = next((line.image_path for line in rejected if line.image_path), "")
    found = f"The catalogue has {pictures[0]}." if pictures else "The catalogue's folder has no photographs."
    hint = f"Every row has a reason in {path}."
    if isinstance(raw.rows, Rows) and raw.schema.table:
        cells = dict(zip(raw.schema.headings, raw.rows.cells, strict=False))
        if pattern := propose_pattern(list(cells), cells, files):
            hint = f"Try --image '{pattern}'. {hint}"
    reasons = ", ".join(sorted({line.reason for line in rejected})[:3])
    return CatalogError(
        f"Not one photograph of the catalogue can be used ({reasons}).",
        allowed=f"The first path tried: {tried or 'none, no row names one'}. {found}",
        hint=hint,
    )


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


class _Line(NamedTuple):
    """A line of `rejected.csv`."""

    item_id: str
    image_path: str
    code: str
    reason: str


def _tabulate_lines(lines: Sequence[_Line]) -> pl.DataFrame:
    # By columns, since there may be millions.
    return pl.DataFrame({name: [getattr(line, name) for line in lines] for name in REJECTED}, schema=REJECTED)


def _describe_unused(unused: Sequence[str]) -> list[_Line]:
    lines = [
        _Line("", path, "unused_photograph", "no row that was read names it") for path in unused[:MAX_UNUSED_LINES]
    ]
    if more := len(unused) - len(lines):
        lines.append(
            _Line("", unused[-1], "unused_photograph", f"no row that was read names this one and {more - 1:,} others")
        )
    return lines


class _Candidate(NamedTuple):
    """A row whose photograph is to be decoded: its position, its id, and the photograph's path."""

    row: int
    item_id: str
    path: str


def _check_rows(raw: RawCatalog) -> tuple[list[_Candidate], list[_Line]]:
    """Return the rows to decode, and a line for each rejected one."""
    candidates: list[_Candidate] = []
    rejected = [_Line(f"line {line}", "", "bad_row", reason) for line, reason in raw.broken]
    rejected += [_Line("", *passed_over) for passed_over in raw.skipped_folders]
    rejected += [_Line(f"line {line}", "", "skipped_row", reason) for line, reason in raw.skipped]
    seen: set[str] = set()
    for position, row in enumerate(raw.rows):
        item_id, path = read_id(row[raw.schema.id]), raw.locate_photograph(row)
        if not item_id:
            rejected.append(_Line(f"row {position + 1}", path, "missing_id", "the row has no id"))
        elif item_id in seen:
            rejected.append(_Line(item_id, path, "duplicate_id", "an earlier row has the same id"))
        else:
            seen.add(item_id)
            candidates.append(_Candidate(position, item_id, path))
    return candidates, rejected


def _tabulate_items(
    raw: RawCatalog, candidates: Sequence[_Candidate], outcomes: Sequence[Decoded | Rejected]
) -> tuple[pl.DataFrame, list[_Line]]:
    """Return the table of items, and a line for each row whose photograph cannot be used."""
    kept: list[_Candidate] = []
    decoded: list[Decoded] = []
    rejected: list[_Line] = []
    for candidate, outcome in zip(candidates, outcomes, strict=True):
        if isinstance(outcome, Rejected):
            rejected.append(_Line(candidate.item_id, candidate.path, outcome.code, outcome.reason))
        else:
            kept.append(candidate)
            decoded.append(outcome)
    described = pl.DataFrame(
        {
            "item_id": [each.item_id for each in kept],
            "image_path": [each.path if is_url(each.path) else posixpath.normpath(each.path) for each in kept],
            "image_width": [each.width for each in decoded],
            "image_height": [each.height for each in decoded],
            "image_mode": [each.mode for each in decoded],
        },
        schema={name: pl.Int64 if name in ("image_width", "image_height") else pl.String for name in DESCRIBED},
    )
    given = _read_column(raw, raw.schema.split, kept) if raw.schema.split else [None] * len(kept)
    splits = pl.Series("given_split", [_read_split(value) for value in given], pl.String)
    columns = [pl.Series(column, _read_column(raw, column, kept), pl.String) for column in raw.schema.columns]
    return described.with_columns(splits, *columns), rejected


def _read_column(raw: RawCatalog, column: str, kept: Sequence[_Candidate]) -> list[str | None]:
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
    table: pl.DataFrame,
    rejected: list[_Line],
    decoded_key: str,
    unused: list[str],
) -> StageResult:
    names = ("items.parquet", "images.npy", "rejected.csv", "repaired.csv", DECODED)
    paths = [record.work / name for name in names]
    write_parquet(paths[0], table)
    write_csv(paths[2], _tabulate_lines(rejected + _describe_unused(unused)))
    write_csv(paths[3], pl.DataFrame(raw.repairs, schema=REPAIRED, orient="row"))
    counts: dict[str, object] = {
        "rows": len(raw.rows) + raw.num_merged + len(raw.skipped) + len(raw.broken) + len(raw.skipped_folders),
        "items": len(table),
        "rejected": len(rejected),
        "repaired_rows": len({repair.line for repair in raw.repairs}),
    }
    if unused:
        counts["unused_photographs"] = len(unused)
    if failed := sum(is_url(line.image_path) for line in rejected):
        # Such photographs are tried again the next time.
        counts["failed_downloads"] = failed
    if raw.schema.layout not in ("", "capstone"):
        counts["layout"] = raw.schema.layout
    if raw.num_merged:
        counts["merged_rows"] = raw.num_merged
    if raw.num_other_photographs:
        # Of a product, the first photograph counts.
        counts["other_photographs"] = raw.num_other_photographs
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


def _describe_origin(raw: RawCatalog) -> dict[str, str]:
    table = raw.base + raw.schema.table if raw.schema.table else ""
    return {"catalog": escape_name(str(raw.source.path)), "table": table}
