"""Multiple-choice questions: a model answers with the continuation that it finds most likely.

As in lm-evaluation-harness (Gao et al., doi:10.5281/zenodo.12608602): the log-likelihood of each choice after the
question, summed over its tokens; divided by its length in characters where a task says so. Small models are near
chance in accuracy long before their likelihoods are, so the margin is reported as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.continuations import continuation_losses
from regmix_pipeline.proxies.model import Decoder

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """A question with its choices, as tokens.

    Attributes:
        context: what stands before each choice, at least one token.
        choices: continuations, at least two, none empty.
        characters: of each choice's text.
        gold: which choice is right.
    """

    context: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    characters: tuple[int, ...]
    gold: int

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ProxyError: an empty context or choice, less than two choices, lengths or gold that do not fit them.
        """
        number = len(self.choices)
        whole = self.context and number >= 2 and all(self.choices) and all(n > 0 for n in self.characters)
        if not whole or len(self.characters) != number or not 0 <= self.gold < number:
            raise ProxyError(
                f"a question of {len(self.context)} tokens with choices of {[len(c) for c in self.choices]} tokens and "
                f"{list(self.characters)} characters, of which {self.gold} is right",
                where="multiple choice",
                remedy="give a context, two choices or more, none of them empty, and the number of the right one",
            )


@dataclass(frozen=True)
class Answers:
    """What a model made of the questions of a task.

    Attributes:
        right: whether each was answered right, (n,).
        chance: of answering right by guessing, (n,).
        margin: log-likelihood per character of the right choice less the mean of the others, nats, (n,).
    """

    right: NDArray[np.bool_]
    chance: Array
    margin: Array

    @property
    def accuracy(self) -> float:
        """Share answered right."""
        return float(self.right.mean())

    @property
    def standard_error(self) -> float:
        """Of the accuracy, over questions."""
        return float(self.right.std(ddof=1) / math.sqrt(len(self.right)))


def log_likelihoods(model: Decoder, questions: Sequence[Question]) -> list[Array]:
    """Summed log-likelihood of every choice after its context, nats; an array (choices,) a question.

    What does not fit the model's window is cut as `continuations` says.

    Raises:
        ProxyError: a token is outside the vocabulary.
    """
    rows = [([*question.context, *choice], len(choice)) for question in questions for choice in question.choices]
    losses, _ = continuation_losses(model, rows)
    ends = np.cumsum([len(question.choices) for question in questions])[:-1]
    return np.split(-losses, ends)


def answered(model: Decoder, questions: Sequence[Question], per_character: bool) -> Answers:
    """The model's answers.

    Args:
        model: to ask.
        questions: of one task.
        per_character: whether the likeliest choice is by log-likelihood per character; otherwise by the sum.
    """
    likelihoods = log_likelihoods(model, questions)
    right, margin = [], []
    for question, sums in zip(questions, likelihoods, strict=True):
        normal = sums / np.array(question.characters)
        right.append(int((normal if per_character else sums).argmax()) == question.gold)
        margin.append(normal[question.gold] - np.delete(normal, question.gold).mean())
    chance = np.array([1 / len(question.choices) for question in questions])
    return Answers(np.array(right), chance, np.array(margin))
