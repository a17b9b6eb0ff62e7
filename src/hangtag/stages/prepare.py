"""Stage `prepare`: read, check and pack every row and photograph of a catalogue."""

import posixpath
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from hangtag.catalog.files import escape_name
from hangtag.catalog.image_files import Decoded, Rejected, pack_photographs
from hangtag.catalog.prepared_items import count_missing
from hangtag.catalog.reader import RawCatalog, read_catalog
from hangtag.config import SPLITS, PrepareConfig
from hangtag.errors import CatalogError
from hangtag.io import hash_json, write_csv, write_parquet, write_whole
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.results import PrepareResult, StageResult
from hangtag.workspace import Workspace

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
    if config.fit != PrepareConfig.fit:
        # Left out where it is usual, so that workspaces from before it stay as they are.
        settings["fit"] = config.fit
    record = StageRecord("prepare", workspace.prepared, inputs, settings)
    with hold("prepare", workspace, writes=[workspace.prepared], create=True):
        if current := record.load_if_unchanged():
            # The same catalogue may lie somewhere else by now.
            record.update(origin=_describe_origin(raw))
            return PrepareResult.of(current)
        return PrepareResult.of(_prepare_catalog(record, raw, config))


def _prepare_catalog(record: StageRecord, raw: RawCatalog, config: PrepareConfig) -> StageResult:
    candidates, rejected = _check_rows(raw)
    with write_whole(record.begin() / "images.npy") as target:
        outcomes = pack_photographs(raw.source, [raw.base + path for _, path, _ in candidates], config, target)
    items, more = _collect_items(raw, candidates, outcomes)
    if not items:
        raise CatalogError(
            "Not one photograph of the catalogue can be used.",
            received=sorted({line["reason"] for line in [*rejected, *more]})[:3],
        )
    return _write_prepared(record, raw, items, rejected + more)


Candidate = tuple[dict[str, str], str, int]


def _check_rows(raw: RawCatalog) -> tuple[list[Candidate], list[dict[str, str]]]:
    """Return (row, photograph's path, position) of the rows to decode, and a line for each rejected one."""
    candidates: list[Candidate] = []
    rejected = [
        {"item_id": f"line {line}", "image_path": "", "code": "bad_row", "reason": reason}
        for line, reason in raw.broken
    ]
    rejected += [
        {"item_id": "", "image_path": path, "code": code, "reason": reason} for path, code, reason in raw.passed_over
    ]
    seen: set[str] = set()
    for position, row in enumerate(raw.rows):
        item_id, path = row[raw.schema.id].strip(), raw.schema.find_image_path(row)
        if not item_id:
            reason = "the row has no id"
            rejected.append(
                {"item_id": f"row {position + 1}", "image_path": path, "code": "missing_id", "reason": reason}
            )
        elif item_id in seen:
            reason = "an earlier row has the same id"
            rejected.append({"item_id": item_id, "image_path": path, "code": "duplicate_id", "reason": reason})
        else:
            seen.add(item_id)
            candidates.append((row, path, position))
    return candidates, rejected


def _collect_items(
    raw: RawCatalog, candidates: list[Candidate], outcomes: list[Decoded | Rejected]
) -> tuple[list[dict[str, object]], list[dict[str, str]]]:
    items: list[dict[str, object]] = []
    rejected: list[dict[str, str]] = []
    for (row, path, _), outcome in zip(candidates, outcomes, strict=True):
        item_id = row[raw.schema.id].strip()
        if isinstance(outcome, Rejected):
            line = {"item_id": item_id, "image_path": path, "code": outcome.code, "reason": outcome.reason}
            rejected.append(line)
            continue
        given = row[raw.schema.split].strip().lower() if raw.schema.split else ""
        described = {
            "item_id": item_id,
            "image_path": posixpath.normpath(raw.base + path),
            "image_width": outcome.width,
            "image_height": outcome.height,
            "image_mode": outcome.mode,
            "given_split": given if given in SPLITS else None,
        }
        items.append(described | row)
    return items, rejected


def _write_prepared(
    record: StageRecord,
    raw: RawCatalog,
    items: list[dict[str, object]],
    rejected: list[dict[str, str]],
) -> StageResult:
    paths = [record.work / name for name in ("items.parquet", "images.npy", "rejected.csv")]
    table = pl.DataFrame(items, infer_schema_length=None, schema_overrides={"given_split": pl.String})
    write_parquet(paths[0], table)
    write_csv(paths[2], pl.DataFrame(rejected, schema=REJECTED))
    counts: dict[str, object] = {
        "rows": len(raw.rows) + len(raw.broken) + len(raw.passed_over),
        "items": len(items),
        "rejected": len(rejected),
        "repaired_rows": len(raw.repaired_rows),
    }
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
        # Where the originals are: for `review` to show them, and for `apply` to correct the table.
        origin=_describe_origin(raw),
    )


def _describe_origin(raw: RawCatalog) -> dict[str, str]:
    table = raw.base + raw.schema.table if raw.schema.table else ""
    return {"catalog": escape_name(str(raw.source.path)), "table": table}
