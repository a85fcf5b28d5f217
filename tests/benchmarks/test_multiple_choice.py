# ruff: noqa: TID253
"""Multiple-choice scoring against the plain sum of log-softmax, one row at a time."""

import numpy as np
import pytest
import torch
from multiple_choice import Question, answered, log_likelihoods

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.model import Decoder, initialise
from regmix_pipeline.study.settings.proxies import ModelSettings


@pytest.fixture(scope="module")
def model():
    made = Decoder(ModelSettings(context=16, layers=1, width=16, heads=2, ffn_width=16), 64)
    initialise(made, 3)
    with torch.no_grad():
        made.head.mul_(8)
    return made.eval()


def questions(number, seed=0, longest=12):
    rng = np.random.default_rng(seed)

    def tokens(low, high):
        return tuple(rng.integers(0, 64, rng.integers(low, high)).tolist())

    made = []
    for _ in range(number):
        choices = tuple(tokens(1, 5) for _ in range(rng.integers(2, 5)))
        characters = tuple(int(n) for n in rng.integers(1, 30, len(choices)))
        made.append(Question(tokens(1, longest), choices, characters, int(rng.integers(len(choices)))))
    return made


def plainly(model, context, choice):
    text = torch.tensor([*context, *choice])
    with torch.no_grad():
        logs = torch.log_softmax(model(text[None, :-1]) @ model.head.t(), -1)
    return float(sum(logs[len(context) - 1 + i, token] for i, token in enumerate(choice)))


def test_the_sum_over_a_choices_tokens_and_nothing_else(model):
    asked = questions(70)
    for question, found in zip(asked, log_likelihoods(model, asked), strict=True):
        expected = [plainly(model, question.context, choice) for choice in question.choices]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_does_not_fit_is_cut_off_the_front_of_the_context(model):
    question = Question(tuple(range(60)), ((1, 2, 3), (4,)), (3, 1), 0)
    (found,) = log_likelihoods(model, [question])
    expected = [plainly(model, range(60 - 14, 60), (1, 2, 3)), plainly(model, range(60 - 16, 60), (4,))]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_choice_longer_than_the_window_is_cut_at_its_end(model):
    long = tuple(range(30))
    (found,) = log_likelihoods(model, [Question((9,), (long, (1,)), (30, 1), 0)])
    assert found[0] == pytest.approx(plainly(model, (9,), long[:16]), rel=1e-4)


def test_answers_by_sum_and_by_character(model):
    asked = questions(50, seed=1)
    sums = log_likelihoods(model, asked)
    by_sum, by_character = answered(model, asked, False), answered(model, asked, True)
    assert by_sum.right.tolist() == [int(s.argmax()) == q.gold for s, q in zip(sums, asked, strict=True)]
    normal = [s / np.array(q.characters) for s, q in zip(sums, asked, strict=True)]
    assert by_character.right.tolist() == [int(s.argmax()) == q.gold for s, q in zip(normal, asked, strict=True)]
    assert by_sum.right.tolist() != by_character.right.tolist()
    assert by_sum.accuracy == by_sum.right.mean()
    assert by_sum.standard_error == pytest.approx(np.sqrt(by_sum.right.var(ddof=1) / 50))
    np.testing.assert_allclose(by_sum.chance, [1 / len(q.choices) for q in asked])
    one = asked[0]
    assert by_sum.margin[0] == pytest.approx(normal[0][one.gold] - np.delete(normal[0], one.gold).mean())


@pytest.mark.parametrize(
    ("context", "choices", "characters", "gold"),
    [
        ((), ((1,), (2,)), (1, 1), 0),
        ((1,), ((1,),), (1,), 0),
        ((1,), ((1,), ()), (1, 1), 0),
        ((1,), ((1,), (2,)), (1, 1), 2),
    ],
)
def test_a_question_that_is_none_is_refused(context, choices, characters, gold):
    with pytest.raises(ProxyError, match="multiple choice"):
        Question(context, choices, characters, gold)


def test_a_token_outside_the_vocabulary_is_named(model):
    with pytest.raises(ProxyError, match="vocabulary of 64"):
        log_likelihoods(model, [Question((64,), ((1,), (2,)), (1, 1), 0)])
