"""A training that leaves the backbone as it is: its features are computed once, and heads are learnt on them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hangtag.models.answers import Answers
from hangtag.models.backbone import cut_backbone, cut_heads
from hangtag.training.dataset import ItemDataset
from hangtag.training.features import Features, compute_features
from hangtag.training.learner import Inputs, Learner
from hangtag.training.sampling import draw_order


class FrozenLearner(Learner):
    """A network whose heads alone learn; photographs are varied by mirroring alone, where that is asked for."""

    features: Features | None = None

    def _choose_trained(self) -> Any:
        self.backbone = cut_backbone(self.model)
        return cut_heads(self.model)

    def _prepare(self) -> None:
        """Compute the features of the items to learn from, mirrored too, and of those to be judged on."""
        if self.features is not None:
            return
        train, val = self.data["train"].rows, self.data["val"].rows
        mirrored = train if self.config.flip else train[:0]
        self.features = compute_features(
            self.checkpoint,
            self.backbone,
            self.data["train"].images,
            np.concatenate([train, val, mirrored]),
            np.repeat([False, False, True], [len(train), len(val), len(mirrored)]),
            image_size=self.network_size,
            title=f"{self.title}Features",
        )

    def _give(self, places: Any) -> dict[str, Any]:
        """Give what the heads take for places of the file of features."""
        assert self.features is not None
        widths = [int(end.shape[-1]) for end in self.backbone.output.values()]
        parts = np.split(np.asarray(self.features[places]), np.cumsum(widths)[:-1], axis=1)
        return dict(zip(self.trained.input, parts, strict=True))

    def _iterate_batches(self, epoch: int, image_size: tuple[int, int]) -> Iterator[Inputs]:  # noqa: ARG002
        data, config = self.data["train"], self.config
        random = np.random.default_rng((config.seed, epoch))
        order = draw_order(self.copies, random)
        for start in range(0, len(order), config.batch_size):
            places = order[start : start + config.batch_size]
            chosen = data.take(places)
            is_mirrored = (random.random(len(places)) < 0.5) & config.flip
            mirrored = len(data) + len(self.data["val"]) + places
            yield self._give(np.where(is_mirrored, mirrored, places)), chosen.classes

    def _iterate_judged(self, data: ItemDataset, image_size: tuple[int, int]) -> Iterator[Answers]:  # noqa: ARG002
        first = len(self.data["train"])
        for start in range(0, len(data), self.config.batch_size):
            places = np.arange(start, min(start + self.config.batch_size, len(data)))
            answers = self.trained.predict_on_batch(self._give(first + places))
            yield {head: np.asarray(probs, np.float32) for head, probs in answers.items()}
