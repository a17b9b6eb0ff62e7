"""What a classifier says of photographs: probabilities on every level and of every attribute, and what it chooses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hangtag.models.answers import Answers
from hangtag.models.outputs import NO_VALUE, PRODUCT, Indices, Outputs, Probs


@dataclass(frozen=True)
class Predictions:
    """The answers for n photographs.

    Attributes:
        outputs: What the heads stand for.
        answers: Each head's probabilities, float32 (n, classes).
        novelty: How far each photograph is from all that was learnt, float32 (n,), where the model tells.
    """

    outputs: Outputs
    answers: Answers
    novelty: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Give the number of photographs."""
        return len(self.answers[PRODUCT])

    @property
    def probs(self) -> Probs:
        """The probabilities on the primary level, float32 (n, classes)."""
        return self.outputs.sum_level(self.answers[PRODUCT], self.outputs.primary)

    def read_probs(self, column: str) -> Probs:
        """Give the probabilities of a level's or an attribute's classes, float32 (n, classes)."""
        if column in self.outputs.levels:
            return self.outputs.sum_level(self.answers[PRODUCT], column)
        return self.answers[self.outputs.find_head(column)]

    def choose_classes(self) -> dict[str, Indices]:
        """Give the predicted class index of every level and attribute, int64 (n,); levels never contradict each other.

        A product may have no value on a level: then the index is `NO_VALUE`.
        """
        products = self.outputs.choose_products(self.answers[PRODUCT])
        chosen = {level: self.outputs.list_classes(level)[products] for level in self.outputs.levels}
        for attribute in self.outputs.attributes:
            chosen[attribute] = self.read_probs(attribute).argmax(axis=1)
        return chosen

    def choose_labels(self) -> dict[str, list[str | None]]:
        """Give the predicted value of every level and attribute by name."""
        names = {**self.outputs.levels, **self.outputs.attributes}
        return {
            column: [None if place == NO_VALUE else names[column][place] for place in places.tolist()]
            for column, places in self.choose_classes().items()
        }

    def adjust(self, train_counts: dict[str, Sequence[int]], strength: float) -> "Predictions":
        """Favour classes that were rare in training, without training again.

        Every probability is divided by the class's share in training to the power of `strength`: 0 changes
        nothing and is best for accuracy, 1 is best where each class is to count the same. Products go by the
        share of their class on the primary level. Source: Menon et al., *Long-Tail Learning via Logit
        Adjustment*, 2021.

        Args:
            train_counts: How often each class of each head was in training, as `model.json` has it.
            strength: 0 to 1, as a habit.
        """
        if not strength:
            return self
        answers = {}
        for head, probs in self.answers.items():
            counts = np.asarray(train_counts[head], np.float64)
            if head == PRODUCT:
                counts = self._count_primary(counts)
            weights = np.maximum(counts, 1.0) ** -strength
            weighted = probs * weights
            answers[head] = (weighted / weighted.sum(axis=1, keepdims=True)).astype(np.float32)
        return replace(self, answers=answers)

    def _count_primary(self, counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Give each product the count of its class on the primary level."""
        classes = self.outputs.list_classes(self.outputs.primary)
        has_value = classes != NO_VALUE
        sums = np.bincount(classes[has_value], weights=counts[has_value], minlength=len(self.outputs.class_names))
        return np.where(has_value, sums[classes], counts)
