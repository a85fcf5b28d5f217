# ruff: noqa: TID253  (imported only by downstream.py)
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
import torch
from numpy.typing import NDArray

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.evaluate import autocast, rows_per_pass
from regmix_pipeline.proxies.loss import token_losses
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


@torch.no_grad()
def log_likelihoods(model: Decoder, questions: Sequence[Question]) -> list[Array]:
    """Summed log-likelihood of every choice after its context, nats; an array (choices,) a question.

    What does not fit the model's window is cut off the front of the context; a choice that alone does not fit is cut
    at its end, alike for every model of that window.

    Raises:
        ProxyError: a token is outside the vocabulary.
    """
    device, window = model.head.device, model.settings.context
    rows = [(n, c) for n, question in enumerate(questions) for c in range(len(question.choices))]
    texts = [_windowed(questions[n].context, questions[n].choices[c], window) for n, c in rows]
    if any(max(tokens) >= model.vocabulary for tokens, _ in texts):
        raise ProxyError(f"a token is outside the vocabulary of {model.vocabulary}", where="multiple choice")
    found = [np.empty(len(question.choices)) for question in questions]
    # Rows of like length share a pass: little of it is padding.
    order = sorted(range(len(rows)), key=lambda row: len(texts[row][0]))
    step = rows_per_pass(model)
    with autocast(device):
        for start in range(0, len(order), step):
            part = order[start : start + step]
            longest = max(len(texts[row][0]) for row in part)
            # Padding stands after the text, where causal attention cannot see it from.
            tokens = torch.zeros(len(part), longest, dtype=torch.int64)
            counted = torch.zeros(len(part), longest - 1)
            for line, row in enumerate(part):
                text, asked = texts[row]
                tokens[line, : len(text)] = torch.tensor(text)
                counted[line, len(text) - 1 - asked : len(text) - 1] = 1
            tokens = tokens.to(device)
            losses = token_losses(model(tokens[:, :-1]), model.head, tokens[:, 1:].reshape(-1))
            sums = -(losses.view(len(part), -1).double().cpu() * counted).sum(1)
            for line, row in enumerate(part):
                n, c = rows[row]
                found[n][c] = float(sums[line])
    return found


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


def _windowed(context: Sequence[int], choice: Sequence[int], window: int) -> tuple[list[int], int]:
    """Tokens of a pass, window + 1 at most with the last only a label, and how many of them are the choice's."""
    choice = list(choice[:window])
    return [*context[-(window + 1 - len(choice)) :], *choice], len(choice)
