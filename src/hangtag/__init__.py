"""Find wrong categories in a fashion catalogue, and train and serve image classifiers on it.

Every command is a function of this package: `init`, `prepare`, `clean`, `explore`, `train`, `cross_validate`,
`learning_curve`, `evaluate`, `compare`, `predict`, `audit`, `review`, `map_taxonomy`, `suggest_merges`, `apply`,
`exchange`, `report`, `search`, `export`, `classify` and `serve`; `parameter_search` is `train --search`, and
`parallel_training` `train --training-workers`. `check` says what looks wrong in a catalogue without training, `run`
runs all stages on one, and `demo` runs them on a generated one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hangtag.config import (
        ApplyConfig,
        AuditConfig,
        ClassifyConfig,
        CleanConfig,
        EvaluateConfig,
        ExchangeConfig,
        ExploreConfig,
        ExportConfig,
        MapTaxonomyConfig,
        PredictConfig,
        PrepareConfig,
        ReviewConfig,
        SearchConfig,
        ServeConfig,
        SuggestMergesConfig,
    )
    from hangtag.errors import HangtagError
    from hangtag.inference.classifier import Classifier
    from hangtag.inference.prediction import Prediction
    from hangtag.inference.streaming import Failure, classify_photographs
    from hangtag.results import StageResult
    from hangtag.runner_config import RunnerConfig
    from hangtag.stages.app import app
    from hangtag.stages.apply import apply
    from hangtag.stages.audit import audit
    from hangtag.stages.check import check
    from hangtag.stages.classify import classify
    from hangtag.stages.clean import clean
    from hangtag.stages.compare import compare
    from hangtag.stages.cross_validate import cross_validate
    from hangtag.stages.evaluate import evaluate
    from hangtag.stages.exchange import exchange
    from hangtag.stages.explore import explore
    from hangtag.stages.export import export
    from hangtag.stages.init import init
    from hangtag.stages.learning_curve import learning_curve
    from hangtag.stages.map_taxonomy import map_taxonomy
    from hangtag.stages.parallel_training import parallel_training
    from hangtag.stages.parameter_search import parameter_search
    from hangtag.stages.pipeline import demo, run
    from hangtag.stages.predict import predict
    from hangtag.stages.prepare import prepare
    from hangtag.stages.report import report
    from hangtag.stages.review import review
    from hangtag.stages.search import search
    from hangtag.stages.serve import serve
    from hangtag.stages.suggest_merges import suggest_merges
    from hangtag.stages.train import train
    from hangtag.train_config import TrainConfig
    from hangtag.workspace import Workspace

__version__ = "0.1.0"

__all__ = [
    "ApplyConfig",
    "AuditConfig",
    "Classifier",
    "ClassifyConfig",
    "CleanConfig",
    "EvaluateConfig",
    "ExchangeConfig",
    "ExploreConfig",
    "ExportConfig",
    "Failure",
    "HangtagError",
    "MapTaxonomyConfig",
    "PredictConfig",
    "Prediction",
    "PrepareConfig",
    "ReviewConfig",
    "RunnerConfig",
    "SearchConfig",
    "ServeConfig",
    "StageResult",
    "SuggestMergesConfig",
    "TrainConfig",
    "Workspace",
    "app",
    "apply",
    "audit",
    "check",
    "classify",
    "classify_photographs",
    "clean",
    "compare",
    "cross_validate",
    "demo",
    "evaluate",
    "exchange",
    "explore",
    "export",
    "init",
    "learning_curve",
    "map_taxonomy",
    "parallel_training",
    "parameter_search",
    "predict",
    "prepare",
    "report",
    "review",
    "run",
    "search",
    "serve",
    "suggest_merges",
    "train",
]

# Modules are imported on first use, so that `import hangtag` is fast and only stages that need Keras import it.
_MODULES = {
    "app": "hangtag.stages.app",
    "init": "hangtag.stages.init",
    "prepare": "hangtag.stages.prepare",
    "clean": "hangtag.stages.clean",
    "explore": "hangtag.stages.explore",
    "train": "hangtag.stages.train",
    "cross_validate": "hangtag.stages.cross_validate",
    "learning_curve": "hangtag.stages.learning_curve",
    "parallel_training": "hangtag.stages.parallel_training",
    "parameter_search": "hangtag.stages.parameter_search",
    "evaluate": "hangtag.stages.evaluate",
    "compare": "hangtag.stages.compare",
    "predict": "hangtag.stages.predict",
    "audit": "hangtag.stages.audit",
    "review": "hangtag.stages.review",
    "apply": "hangtag.stages.apply",
    "exchange": "hangtag.stages.exchange",
    "map_taxonomy": "hangtag.stages.map_taxonomy",
    "suggest_merges": "hangtag.stages.suggest_merges",
    "report": "hangtag.stages.report",
    "search": "hangtag.stages.search",
    "check": "hangtag.stages.check",
    "run": "hangtag.stages.pipeline",
    "demo": "hangtag.stages.pipeline",
    "export": "hangtag.stages.export",
    "classify": "hangtag.stages.classify",
    "serve": "hangtag.stages.serve",
    "classify_photographs": "hangtag.inference.streaming",
    "Prediction": "hangtag.inference.prediction",
    "Failure": "hangtag.inference.streaming",
    "Classifier": "hangtag.inference.classifier",
    "StageResult": "hangtag.results",
    "RunnerConfig": "hangtag.runner_config",
    "Workspace": "hangtag.workspace",
    "HangtagError": "hangtag.errors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hangtag' has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "hangtag.config")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
