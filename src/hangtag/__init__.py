"""hangtag reads a fashion catalogue, learns its categories from the photographs and finds its mistakes.

Every stage of the command line is a function here: `prepare`, `clean`, `explore`, `train`, `evaluate`, `compare`,
`predict`, `audit`, `review`, `apply`, `report` and `export`; `run` is the whole chain and `demo` the same on a
catalogue that hangtag draws itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hangtag.auditing.audit import audit
    from hangtag.catalog.prepare import prepare
    from hangtag.chain import demo, run
    from hangtag.config import (
        ApplyConfig,
        AuditConfig,
        ClassifyConfig,
        CleanConfig,
        EvaluateConfig,
        ExploreConfig,
        ExportConfig,
        PredictConfig,
        PrepareConfig,
        ReviewConfig,
        ServeConfig,
        TrainConfig,
    )
    from hangtag.errors import HangtagError
    from hangtag.evaluation.compare import compare
    from hangtag.evaluation.evaluate import evaluate
    from hangtag.exploration.explore import explore
    from hangtag.inference.answer import Answer
    from hangtag.inference.classifier import Classifier
    from hangtag.inference.predict import predict
    from hangtag.inference.stream import Failure, classify_photographs
    from hangtag.labels.clean import clean
    from hangtag.manifest import StageResult
    from hangtag.reporting.report import report
    from hangtag.reviewing.apply import apply
    from hangtag.reviewing.review import review
    from hangtag.serving.export import export
    from hangtag.training.train import train
    from hangtag.workspace import Workspace

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "ApplyConfig",
    "AuditConfig",
    "Classifier",
    "ClassifyConfig",
    "CleanConfig",
    "EvaluateConfig",
    "ExploreConfig",
    "ExportConfig",
    "Failure",
    "HangtagError",
    "PredictConfig",
    "PrepareConfig",
    "ReviewConfig",
    "ServeConfig",
    "StageResult",
    "TrainConfig",
    "Workspace",
    "apply",
    "audit",
    "classify_photographs",
    "clean",
    "compare",
    "demo",
    "evaluate",
    "explore",
    "export",
    "predict",
    "prepare",
    "report",
    "review",
    "run",
    "train",
]

# Imported when first asked for: `import hangtag` takes no time, and only stages that need Keras pay for it.
_PLACES = {
    "prepare": "hangtag.catalog.prepare",
    "clean": "hangtag.labels.clean",
    "explore": "hangtag.exploration.explore",
    "train": "hangtag.training.train",
    "evaluate": "hangtag.evaluation.evaluate",
    "compare": "hangtag.evaluation.compare",
    "predict": "hangtag.inference.predict",
    "audit": "hangtag.auditing.audit",
    "review": "hangtag.reviewing.review",
    "apply": "hangtag.reviewing.apply",
    "report": "hangtag.reporting.report",
    "run": "hangtag.chain",
    "demo": "hangtag.chain",
    "export": "hangtag.serving.export",
    "classify_photographs": "hangtag.inference.stream",
    "Answer": "hangtag.inference.answer",
    "Failure": "hangtag.inference.stream",
    "Classifier": "hangtag.inference.classifier",
    "StageResult": "hangtag.manifest",
    "Workspace": "hangtag.workspace",
    "HangtagError": "hangtag.errors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hangtag' has no attribute {name!r}")
    return getattr(import_module(_PLACES.get(name, "hangtag.config")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
