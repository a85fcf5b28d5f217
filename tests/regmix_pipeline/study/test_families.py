"""Shares of the objective: targets by themselves, and families by their macro average."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from regmix_pipeline.study.settings.search import Guardrail, SearchSettings
from regmix_pipeline.study.settings.targets import Family, Target, objective_of, shares_within
from regmix_pipeline.study.study import Study

WEIGHTS = st.floats(0, 10, allow_subnormal=False)


@given(
    own=st.lists(WEIGHTS, min_size=6, max_size=6),
    weights=st.lists(WEIGHTS, min_size=2, max_size=2),
    first=st.integers(1, 3),
)
def test_a_family_has_its_weight_whatever_its_members_have(own, weights, first):
    targets = {f"t{number}": Target(weight=weight) for number, weight in enumerate(own)}
    names = list(targets)
    families = {
        "a": Family(targets=tuple(names[:first]), weight=weights[0]),
        "b": Family(targets=tuple(names[first:5]), weight=weights[1]),
    }
    shares = objective_of(targets, families)
    counted = {name: any(targets[each].weight for each in family.targets) for name, family in families.items()}
    total = sum(family.weight for name, family in families.items() if counted[name]) + own[5]
    if not total:
        assert shares == {}
        return
    assert sum(shares.values()) == pytest.approx(1)
    for name, family in families.items():
        expected = family.weight / total if counted[name] else 0
        assert sum(shares.get(each, 0) for each in family.targets) == pytest.approx(expected)
        for each, share in shares_within(family, targets).items():
            assert shares.get(each, 0) == pytest.approx(share * expected)


def study(**changes):
    given = {
        "name": "tiny",
        "domains": {name: {"source": {"jsonl": f"{name}.jsonl"}} for name in ("web", "code")},
        "targets": {"web": {}, "arc": {"source": {"task": "arc.jsonl"}}, "code": {"weight": 0}},
        "tokenizer": {"train": {}},
    }
    return Study.model_validate(given | changes)


def test_families_and_guardrails_of_a_study():
    found = study(families={"tasks": {"targets": ["arc"], "weight": 3}}, search={"guardrails": [{"targets": ["code"]}]})
    assert found.objective == {"web": 0.25, "arc": 0.75}
    assert found.tasks == ["arc"]
    assert found.flag_error_below == 0.5


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"families": {"web": {"targets": ["arc"]}}}, "a target has this name"),
        ({"families": {"a": {"targets": ["arc"]}, "b": {"targets": ["arc"]}}}, "'arc' is in two families"),
        ({"families": {"a": {"targets": ["arc", "arc"]}}}, "listed twice"),
        ({"families": {"objective": {"targets": ["arc"]}}}, "weighted mean under this name"),
        ({"families": {"A b": {"targets": ["arc"]}}}, "is not a safe name"),
        ({"families": {"a": {"targets": ["web", "arc"], "weight": 0}}}, "nothing to minimise"),
        ({"search": {"guardrails": [{"targets": ["books"]}]}}, "'books' is not a target"),
        ({"watch": {"address": "in", "source": {"task": "*.jsonl"}}}, "items of a task can only be a target's"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, problem):
    with pytest.raises(ValidationError, match=problem):
        study(**changes)


def test_recipes_of_studies_without_the_new_settings_say_nothing_of_them():
    assert "guardrails" not in SearchSettings().recipe()
    assert SearchSettings(guardrails=(Guardrail(worse_by=0.1),)).recipe()["guardrails"][0]["worse_by"] == 0.1
    assert "items" not in study().proxies.evaluation.recipe()
    assert study(targets={"web": {}}).flag_error_below is None
