"""Define the arguments and flags of the command line that are not settings of a stage.

The flags of settings, and those of a catalogue's description from the table `DESCRIPTION`, are built in `cli_commands`.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hangtag.errors import HangtagError, SettingsError
from hangtag.train_config import ColorMode
from hangtag.workspace import Workspace

WORKSPACE = Path("workspace")
# Where `hangtag app` keeps its catalogues, and its port.
APP_FOLDER, APP_PORT = Path("~") / "hangtag-app", 8002

# A key of the catalogue's description, its flag, and its help text.
DESCRIPTION = (
    ("table", "--table", "File name of the table inside the catalogue."),
    ("image", "--image", "Paths of the photographs, with columns in braces: images/{id}.jpg."),
    ("image_column", "--image-column", "Column with the paths of the photographs."),
    ("id", "--id-column", "Column with the identifier of an item."),
    ("name", "--name-column", "Column with the product name."),
    ("levels", "--levels", "Label columns from coarse to fine, separated by commas."),
    ("attributes", "--attributes", "Further columns that describe an item, separated by commas."),
    ("label_name", "--label-name", "Heading of the cleaned label."),
    ("group", "--group-column", "Column whose equal values belong to one product, which stays in one split."),
    ("brand", "--brand-column", "Column of brands, for the summary; by default one that is called so."),
    ("layout", "--layout", "The shop system whose table it is: shopify, woocommerce, google-merchant, ..."),
    ("level_separator", "--level-separator", "Separator of the levels in a column of category paths: '>'."),
    ("category_separator", "--category-separator", "Separator of several category paths in a cell."),
    ("image_separator", "--image-separator", "Separator of several photographs in a cell."),
    ("other_image_columns", "--other-image-columns", "Columns with further photographs, separated by commas."),
    ("encoding", "--encoding", "Encoding of a table of text, where it is not found: cp1251, gbk, ..."),
    ("separator", "--separator", "Separator of the table's cells, where it is not found: comma, semicolon, tab, bar."),
    ("sheet", "--sheet", "Sheet of an Excel workbook; by default the first with a header and rows."),
    ("split", "--split-column", "Column that already has the splits train, val and test."),
)


def complete_run_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Return the finished runs whose name begins with the typed text, for shell completion."""
    try:
        run_ids = Workspace.at(context.params.get("workspace") or WORKSPACE).run_ids()
    except (HangtagError, OSError):
        return []
    return [run_id for run_id in run_ids if run_id.startswith(incomplete)]


WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="Folder that all stages share.")]
PresetOption = Annotated[
    Literal["capstone", "default", "finetune", "frozen", "quick", "scratch"],
    typer.Option(
        help="default (or finetune) trains a network further that knows photographs already, quick does so in minutes, "
        "frozen trains only its heads; scratch trains a network from random weights; capstone repeats the report."
    ),
]
FileOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file of settings: overrides the preset; flags override both.")
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="FOLDER",
        help="Folder written by `hangtag export`; by default the model that ships with hangtag.",
    ),
]
CatalogArgument = Annotated[
    str, typer.Argument(metavar="CATALOG", help="A folder or a .zip, or a table with photographs beside it.")
]
TaxonomyArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="Google's taxonomy as text, or Shopify's categories.txt or .json.")
]
DescriptionOutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The file to write, by default catalog.toml beside the table."),
]
EncodingOption = Annotated[
    str, typer.Option("--encoding", help="Encoding of a table of text, where it is not found: cp1251, gbk, ...")
]
SheetOption = Annotated[str, typer.Option("--sheet", help="Sheet of a workbook; by default the first with a header.")]
MovedCatalogOption = Annotated[
    Path | None, typer.Option("--catalog", metavar="CATALOG", help="The catalogue, if it has moved since prepare.")
]
SchemaOption = Annotated[
    Path | None, typer.Option("--schema", help="TOML file that describes the catalogue; see docs/data.md.")
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Replace a training of the same name that has other settings.")
]
RunIdOption = Annotated[str | None, typer.Option(help="Name of the run; by default built from its settings.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")]
SearchFileOption = Annotated[
    Path | None,
    typer.Option(
        "--search",
        metavar="FILE",
        help="TOML file with lists of candidates for settings: train with all their combinations, or with n_iter of "
        "them, and rank the runs on val. The same command continues an interrupted search.",
    ),
]
TrainingWorkersOption = Annotated[
    int | None,
    typer.Option(
        "--training-workers",
        metavar="N",
        help="Train the network as so many tasks of Ray at the same time, each on its share of every batch; "
        "--batch-size is that of all.",
    ),
]
FoldsOption = Annotated[int, typer.Option(metavar="N", help="Number of folds, and of trainings, 2 to 20.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A finished run.", autocompletion=complete_run_ids)]
RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN...", help="Finished runs; all by default.", autocompletion=complete_run_ids),
]
EvaluatedRunsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN...", help="Evaluated runs, two or more; all by default.", autocompletion=complete_run_ids
    ),
]
EvidenceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="The run, or the cross-validation, whose probabilities are used; by default the latest cross-validation, "
        "else the best run, else the model that ships with hangtag.",
        autocompletion=complete_run_ids,
    ),
]
EvidenceModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", metavar="FOLDER", help="Folder written by `hangtag export`, or `shipped`."),
]
SplitOption = Annotated[
    Literal["test", "val", "train"],
    typer.Option(help="Split to compare on; use test for the final evaluation only, never to choose a run."),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(metavar="RUN", help="Run that the others are tested against; the first one by default."),
]
TimeOption = Annotated[
    bool, typer.Option("--time", help="Also measure the prediction time on this machine; best while it is idle.")
]
WideOption = Annotated[
    bool, typer.Option("--wide", help="Print metrics and costs as one table, wider than 80 columns.")
]
SeedsOption = Annotated[
    str | None,
    typer.Option("--seeds", "--seed", metavar="SEED,...", help="Train once for each seed. [default: 0]"),
]


def _parse_fractions(text: str) -> list[float]:
    """Return the shares of a learning curve.

    Raises:
        SettingsError: They are not numbers separated by commas.
    """
    try:
        return [float(part) for part in _split_commas(text) or []]
    except ValueError as error:
        raise SettingsError("--fractions must be numbers separated by commas.", received=text) from error


def _parse_seeds(text: str | None) -> list[int] | None:
    """Return the seeds; None if the flag is not used.

    Raises:
        SettingsError: They are not whole numbers separated by commas.
    """
    parts = _split_commas(text)
    if parts is not None and not all(part.isdecimal() for part in parts):
        raise SettingsError("--seeds must be whole numbers separated by commas.", received=text)
    return None if parts is None else [int(part) for part in parts]


FractionsOption = Annotated[
    str,
    typer.Option(
        "--fractions", metavar="SHARE,...", help="Shares of the training items to train on.", callback=_parse_fractions
    ),
]
CurveSeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="SEED,...",
        help="Train each share once for each seed. [default: --seed]",
        callback=_parse_seeds,
    ),
]
ImageSizeOption = Annotated[str, typer.Option(metavar="HEIGHTxWIDTH", help="Height x width of the photographs.")]
ColorModeOption = Annotated[ColorMode, typer.Option(help="Color or gray photographs.")]
ExportFolderOption = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write to.")]
ToolArgument = Annotated[
    Literal["label-studio", "fiftyone", "hugging-face"], typer.Argument(metavar="TOOL", help="The other tool.")
]
ExchangeFolderOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Write a folder for the tool.")
]
AnswersOption = Annotated[
    Path | None, typer.Option("--answers", metavar="FILE", help="Read the tool's export as decisions of the review.")
]
PhotographsArgument = Annotated[
    list[Path], typer.Argument(metavar="PHOTOGRAPH...", help="Image files, and folders of them.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Write a .csv, .jsonl or .parquet file; the same command continues an interrupted one."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
JsonSummaryOption = Annotated[
    bool, typer.Option("--json", help="Print the summary as one JSON object, and nothing else on stdout.")
]
TrainOption = Annotated[
    bool,
    typer.Option("--train", help="First learn from the catalogue itself, which finds more; says how long it takes."),
]
OpenOption = Annotated[
    bool, typer.Option("--open/--no-open", help="Open the page to decide on in the browser, where a person is there.")
]
FailOption = Annotated[
    Literal["any", "new"] | None,
    typer.Option(
        metavar="WHICH",
        help="Exit with code 1 if a category looks wrong that nobody has decided on: any, or only of products that are "
        "new or changed since the last check with this flag. Without it a check that went through exits with 0.",
    ),
]
AppFolderOption = Annotated[
    Path, typer.Option("--folder", metavar="WHERE", help="Folder for the work on catalogues, and for dropped files.")
]
PortOption = Annotated[
    int, typer.Option("--port", min=1, max=65_535, help="Port to listen on; another one if it is in use.")
]
BrowserOption = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
WordsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="WORDS...", help="What the photographs should show.")
]
ExampleOption = Annotated[
    Path | None, typer.Option("--image", metavar="FILE", help="Find products that look like this photograph.")
]
SearchedRunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="Run whose network describes the photographs; by default the one with the best accuracy on val.",
        autocompletion=complete_run_ids,
    ),
]
FoundOutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the products found to a .csv file.")
]
GroupByOption = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="RULE",
        help="One answer for the photographs of a product: folder, for those of a folder, or a regular expression for "
        r"file names, such as '(?P<product>\d+)_\d+'.",
    ),
]
ExplainOption = Annotated[
    Path | None,
    typer.Option("--explain", metavar="FOLDER", help="Write each photograph with a heatmap (Grad-CAM) over it."),
]


def _build_modes_option(default: str) -> Any:
    text = f"Train once for each color mode: color, gray, or color,gray. [default: {default}]"
    return typer.Option("--color-modes", "--color-mode", metavar="MODE,...", help=text)


ModesOption = Annotated[str | None, _build_modes_option("color; both with the preset capstone")]
DemoModesOption = Annotated[str | None, _build_modes_option("color,gray")]


def parse_trainings(color_modes: str | None, seeds: str | None, replace: bool) -> dict[str, Any]:
    """Return the keyword arguments of `run` and `demo` for the trainings; lists are None if a flag is not used.

    Raises:
        SettingsError: The seeds are not whole numbers separated by commas.
    """
    return {"color_modes": _split_commas(color_modes), "seeds": _parse_seeds(seeds), "replace": replace}


def check_found_output(output: Path | None, *, json: bool) -> None:
    """Check where `search` writes the products that it finds.

    Raises:
        SettingsError: The file is no .csv file, or --json is used too.
    """
    if output is not None and json:
        raise SettingsError("--json and --output cannot be used together.")
    if output is not None and output.suffix.lower() != ".csv":
        raise SettingsError("The output's kind is not known.", allowed="Allowed: .csv.", received=output.name)


def has_person() -> bool:
    """Return whether a person is at the terminal: neither the input nor the output is a file or a pipe."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _split_commas(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
