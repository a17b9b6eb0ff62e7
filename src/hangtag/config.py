"""Declare the settings of every stage: names, defaults, help texts and allowed values."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from hangtag.settings import Settings, require, setting
from hangtag.train_config import SPLITS, TrainConfig, splits_setting

# The target precisions that thresholds are fitted for.
TARGET_PRECISIONS = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
# A rule for the test split: a column, then a parity, a bound, or values separated by bars. `year!=odd` is rejected,
# since it reads like a parity, and `odd` as a value would differ from every year.
TEST_RULE = re.compile(
    r"\s*(?P<column>[^=]*[^=<>!\s])\s*"
    r"(?:=\s*(?P<parity>odd|even)"
    r"|(?P<bound>>=|<=)\s*(?P<number>[-+]?[0-9]+(?:\.[0-9]+)?)"
    r"|(?P<sign>!?=)(?!\s*(?:[=<>!]|(?:odd|even)\s*$))(?P<values>[^|]*[^|\s][^|]*(?:\|[^|]*[^|\s][^|]*)*))\s*"
)
TEST_RULE_FORMS = (
    "a rule in quotes: 'COLUMN=odd', 'COLUMN=even', 'COLUMN=VALUE|VALUE', 'COLUMN!=VALUE|VALUE', "
    "'COLUMN>=NUMBER' or 'COLUMN<=NUMBER'"
)
HOST = re.compile(r"\*|[A-Za-z0-9._:\[\]-]+")


def _are_networks(addresses: tuple[str, ...]) -> bool:
    try:
        list(map(ipaddress.ip_network, addresses))
    except ValueError:
        return False
    return True


def _declare_target_precision() -> float:
    return setting(
        0.95,
        "Target precision of sure predictions; the others are marked as not sure.",
        is_valid=lambda value: value in TARGET_PRECISIONS,
        must_be=f"one of {', '.join(f'{each:g}' for each in TARGET_PRECISIONS)}",
    )


def _declare_logit_adjustment() -> float:
    text = "Strength of logit adjustment, which favours rare classes: 0 is best for accuracy, 1 for macro averages."
    return setting(0.0, text, low=0, high=2)


def _declare_host() -> str:
    return setting("127.0.0.1", "Address to listen on; 0.0.0.0 listens on every address of this machine.")


@dataclass(frozen=True)
class PrepareConfig(Settings):
    """Settings of `prepare`."""

    image_size: tuple[int, int] = setting(
        (80, 60),
        "Height x width that every photograph is resized to.",
        is_valid=lambda size: len(size) == 2 and all(8 <= side <= 2048 for side in size),
        must_be="HEIGHTxWIDTH, each 8 to 2048, as in 80x60",
        metavar="HEIGHTxWIDTH",
    )
    fit: Literal["pad", "stretch"] = setting(
        "pad", "Keep the aspect ratio and pad, or stretch to the full size, for photographs that were distorted before."
    )
    max_pixels: int = setting(
        50_000_000, "Reject photographs with more pixels; read from the header before decoding.", low=1
    )
    max_bytes: int = setting(30_000_000, "Reject larger image files without reading them.", low=1)
    workers: int = setting(0, "Processes that decode photographs; 0 uses one per core.", low=0)
    download: bool = setting(True, "Download photographs named by URL that are not among the catalogue's files.")
    allow_private_addresses: bool = setting(False, "Download from addresses that are not public too.")


@dataclass(frozen=True)
class CleanConfig(Settings):
    """Settings of `clean`."""

    taxonomy: str = setting("", "A taxonomy that ships with hangtag, or a TOML file; empty uses the catalogue's.")
    matcher: Literal["class-words", "names"] = setting(
        "names",
        "How to resolve ambiguous labels: by the words of the class names, or by a classifier of product names.",
    )
    min_match_confidence: float = setting(
        0.9, "Confidence below which the matcher names leaves an item Unknown.", low=0, high=1
    )
    split_seed: int = setting(0, "Random seed of the splits.")
    split_fractions: tuple[float, float, float] = setting(
        (0.72, 0.18, 0.10),
        "Fractions of train, val and test.",
        is_valid=lambda values: len(values) == 3 and min(values) > 0 and abs(sum(values) - 1) < 1e-6,
        must_be="three fractions above 0 that add up to 1, as in 0.72,0.18,0.10",
        metavar="TRAIN,VAL,TEST",
    )
    test_where: str = setting(
        "",
        "Rule on a column that selects the test split: year=odd, year=even, brand=Nike|Puma, year>=2016. "
        "Empty draws it at random.",
        is_valid=lambda rule: not rule or TEST_RULE.fullmatch(rule) is not None,
        must_be=TEST_RULE_FORMS,
        metavar="RULE",
    )
    splits_from: str = setting(
        "", "Workspace of the same catalogue whose splits are reused, as for another image size.", metavar="WORKSPACE"
    )
    max_hash_distance: int = setting(
        1,
        "Largest Hamming distance of perceptual hashes of duplicate photographs; most distances are even.",
        low=0,
        high=2,
    )
    sample: int = setting(0, "Keep a stratified sample of about this many items; 0 keeps all.", low=0)

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        require(
            not (self.test_where and self.splits_from),
            "{test_where} and {splits_from} cannot be used together.",
            {"test_where": self.test_where, "splits_from": self.splits_from},
            ["test_where", "splits_from"],
        )


@dataclass(frozen=True)
class ExploreConfig(Settings):
    """Settings of `explore`."""

    sheet_items: int = setting(20, "Photographs on the contact sheet of each class.", low=1, high=200)
    sheet_seed: int = setting(0, "Random seed that chooses the photographs of the contact sheets.")


@dataclass(frozen=True)
class EvaluateConfig(Settings):
    """Settings of `evaluate`."""

    splits: tuple[str, ...] = splits_setting(SPLITS, "Splits to evaluate on: train, val, test.")
    bootstrap_samples: int = setting(1000, "Bootstrap samples for each 95 % interval.", low=100, high=100_000)
    bootstrap_seed: int = setting(0, "Random seed of the bootstrap.")
    logit_adjustment: float = _declare_logit_adjustment()


@dataclass(frozen=True)
class PredictConfig(Settings):
    """Settings of `predict`."""

    items: Literal["unknown", "all"] = setting("unknown", "Predict the Unknown items, or all of them.")
    target_precision: float = _declare_target_precision()
    logit_adjustment: float = _declare_logit_adjustment()


@dataclass(frozen=True)
class ClassifyConfig(Settings):
    """Settings of `classify`."""

    target_precision: float = _declare_target_precision()


@dataclass(frozen=True)
class ExportConfig(Settings):
    """Settings of `export`."""

    weights: Literal["float32", "float16", "int8"] = setting(
        "float32",
        "Number format of the weights: float16 halves the size; int8 quarters it and is about twice as fast, but "
        "needs nncf. Rejected if accuracy on val drops.",
    )
    onnx: bool = setting(False, "Also write network.onnx for other inference engines; needs tf2onnx.")


@dataclass(frozen=True)
class ServeConfig(Settings):
    """Settings of `serve`."""

    host: str = _declare_host()
    port: int = setting(8000, "Port to listen on; 0 chooses a free one.", low=0, high=65_535)
    target_precision: float = _declare_target_precision()
    processes: int = setting(
        1, "Processes that share the port; all limits are for all of them together, except where noted.", low=1, high=64
    )
    workers: int = setting(0, "Threads that classify, in all processes; 0 uses one per processor.", low=0, high=1024)
    max_bytes: int = setting(10_000_000, "Maximum size of a photograph, in bytes.", low=1)
    max_request_bytes: int = setting(50_000_000, "Maximum bytes of all photographs of a request.", low=1)
    max_pixels: int = setting(40_000_000, "Maximum pixels of a photograph; checked before it is decoded.", low=1)
    max_request_pixels: int = setting(200_000_000, "Maximum pixels of all photographs of a request.", low=1)
    max_photos: int = setting(64, "Maximum number of photographs in a request.", low=1)
    max_waiting: int = setting(1024, "Maximum number of waiting photographs; more get status 503.", low=1)
    max_requests_a_client: int = setting(
        128, "Maximum requests at once from one address to a process; more get status 429.", low=1
    )
    max_connections: int = setting(1024, "Maximum connections at once; one address may use a quarter.", low=1)
    timeout: float = setting(30.0, "Seconds that a request may take, including its upload.", above=0, high=3600)
    drain_seconds: float = setting(
        0.0,
        "Seconds after SIGTERM in which /readyz answers 503 and requests are still accepted, so that a load balancer "
        "can send them elsewhere.",
        low=0,
        high=3600,
    )
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "Further host names that requests may name; the service's address and localhost are allowed, * allows any.",
        is_valid=lambda hosts: all(HOST.fullmatch(host) for host in hosts),
        must_be="host names without scheme and port, separated by commas, as in shop.example, or *",
        metavar="NAME,...",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Addresses or networks of proxies whose X-Forwarded-For header is trusted; none by default.",
        is_valid=_are_networks,
        must_be="IP addresses and networks separated by commas, as in 10.0.0.5,172.16.0.0/12",
        metavar="ADDRESS,...",
    )

    def share(self, total: int) -> int:
        """Return the share of a process in an amount for all processes together, rounded up."""
        return -(-total // self.processes)


@dataclass(frozen=True)
class AuditConfig(Settings):
    """Settings of `audit`."""

    min_score: float = setting(0.5, "Leave out label errors with a lower score.", low=0, high=1)
    use_names: bool = setting(True, "Use product names as evidence, in addition to photographs.")
    min_attribute_accuracy: float = setting(
        0.8, "Check an attribute only if the model predicts it with at least this accuracy.", low=0, high=1
    )
    max_hash_distance: int = setting(
        4,
        "Largest Hamming distance of perceptual hashes of possible duplicates, which are then compared by pixels.",
        low=0,
        high=8,
    )
    pixel_difference: float = setting(
        12.0, "Largest difference, of 255, in any part of two photographs that are near duplicates.", low=0, high=255
    )
    min_side: int = setting(32, "Report photographs with a shorter side than this, in pixels, as too small.", low=0)
    score_by: tuple[str, ...] = setting((), "Columns to score the catalogue by, besides levels and a brand column.")
    category_mapping: str = setting(
        "", "Edited copy of audit/category_mapping.csv: the exported model's class of each category.", metavar="FILE"
    )


@dataclass(frozen=True)
class SearchConfig(Settings):
    """Settings of `search`."""

    limit: int = setting(10, "Number of products to show.", low=1, high=10_000)
    split: Literal["all", "train", "val", "test"] = setting("all", "Search all products, or those of one split.")
    unnamed: bool = setting(False, "Show only products whose name lacks some of the words.")


@dataclass(frozen=True)
class ReviewConfig(Settings):
    """Settings of `review`."""

    host: str = _declare_host()
    port: int = setting(8001, "Port to listen on.", low=1, high=65_535)
    reviewer: str = setting(
        "",
        "Reviewer's name to record with decisions; if empty, the page asks for it.",
        is_valid=lambda name: len(name) <= 60,
        must_be="at most 60 characters",
    )
    look_alikes: int = setting(8, "Number of similar products shown.", low=0, high=100)
    decisions: str = setting(
        "",
        "Database of PostgreSQL to keep the decisions in from now on, postgresql://USER@HOST/DATABASE; the workspace "
        "remembers it, without the password.",
        metavar="ADDRESS",
    )


@dataclass(frozen=True)
class ApplyConfig(Settings):
    """Settings of `apply`."""

    auto_accept: float = setting(
        0.0,
        "Also accept undecided issues of kinds whose measured precision is at least this; 0 accepts none.",
        is_valid=lambda precision: precision == 0 or 0.5 <= precision <= 0.999,
        must_be="0.5 to 0.999, or 0 to accept none",
        metavar="PRECISION",
    )
    taxonomy_mapping: str = setting(
        "",
        "Confirmed copy of taxonomy/mapping.csv: adds a column with the public category of each item.",
        metavar="FILE",
    )
    taxonomy_column: str = setting(
        "",
        "Heading of that column; empty takes the column that the shop's export has for such categories, else "
        "google_product_category, or for Shopify's taxonomy product_category.",
        metavar="HEADING",
    )
    taxonomy_value: Literal["auto", "id", "path"] = setting(
        "auto", "What that column holds: the category's id or its path; auto takes the path where there are no ids."
    )


@dataclass(frozen=True)
class MapTaxonomyConfig(Settings):
    """Settings of `map-taxonomy`."""

    min_confidence: float = setting(
        0.8, "Propose a category only with at least this confidence; others are candidates.", low=0, high=1
    )
    language: str = setting(
        "",
        "Language of the taxonomy and the catalogue, as two letters; empty takes that of the file's name, else en.",
        is_valid=lambda language: not language or re.fullmatch(r"[a-z]{2}", language) is not None,
        must_be="two letters, as in de",
        metavar="LETTERS",
    )
    keep: str = setting(
        "", "Edited copy of an earlier taxonomy/mapping.csv, whose categories are kept.", metavar="FILE"
    )


@dataclass(frozen=True)
class SuggestMergesConfig(Settings):
    """Settings of `suggest-merges`."""

    taxonomy: str = setting("", "The label rules whose labels are compared, as for clean; empty uses the catalogue's.")
    min_similarity: float = setting(
        0.9, "How alike the words of two labels' product names must be, as a cosine.", low=0, high=1
    )


@dataclass(frozen=True)
class ExchangeConfig(Settings):
    """Settings of `exchange`."""

    column: str = setting("", "An attribute whose issues are exchanged; by default those of the category.")
    limit: int = setting(0, "Largest number of products to ask about, the highest score first; 0 takes all.", low=0)
    document_root: str = setting(
        "",
        "Folder from which Label Studio serves local files (LOCAL_FILES_DOCUMENT_ROOT), by default /.",
        metavar="FOLDER",
    )
    url_prefix: str = setting(
        "",
        "Address at which Label Studio finds the photographs; their paths in the catalogue are added to it.",
        is_valid=lambda url: not url or url.startswith(("http://", "https://", "s3://", "gs://", "azure-blob://", "/")),
        must_be="an address that starts with http://, https://, s3://, gs://, azure-blob:// or /",
        metavar="URL",
    )
    reviewer: str = setting(
        "",
        "Name to record with decisions from FiftyOne, which knows no users.",
        is_valid=lambda name: len(name) <= 60,
        must_be="at most 60 characters",
    )


# Settings of the stages of `hangtag run`, in order; a name that two of them have has the same meaning in both.
KINDS = (PrepareConfig, CleanConfig, ExploreConfig, TrainConfig, EvaluateConfig, PredictConfig)
# Settings of the other stages, for which a settings file may have tables too.
MORE_KINDS = (
    AuditConfig,
    ReviewConfig,
    ApplyConfig,
    MapTaxonomyConfig,
    SuggestMergesConfig,
    SearchConfig,
    ExchangeConfig,
    ExportConfig,
    ClassifyConfig,
    ServeConfig,
)
