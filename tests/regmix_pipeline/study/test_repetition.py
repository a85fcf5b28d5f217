"""How often each domain may be seen: who says so, and who must know."""

import pytest

from regmix_pipeline.errors import StudyError
from regmix_pipeline.planning.work import caps_of
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.repetition import epoch_limits, max_epochs_of

GROUPS = [
    {"domains": ["code", "licences"], "max_epochs": 5, "max_epochs_reason": "one code base"},
    {"domains": ["licences", "descriptions"], "max_epochs": 3},
]


def test_a_domains_own_limit_goes_before_its_groups_and_the_studys(change_study):
    path = change_study(
        {"domains.code.max_epochs": 6, "domains.code.max_epochs_reason": "tried before", "search": {"groups": GROUPS}}
    )
    study = load_study(path)
    found = epoch_limits(study)
    assert max_epochs_of(study) == {"code": 6, "licences": 3, "descriptions": 3}
    assert (found["code"].field, found["code"].reason) == ("domains.code.max_epochs", "tried before")
    assert (found["licences"].field, found["licences"].reason) == ("search.groups.1.max_epochs", "")
    path = change_study({"search": {"groups": GROUPS[:1]}, "domains.code.max_epochs": 6})
    assert max_epochs_of(load_study(path)) == {"code": 6, "licences": 5, "descriptions": 4}


def test_a_plan_caps_every_domain_by_its_own_epochs(change_study):
    path = change_study(
        {
            "limits": {"target_tokens": 1_000_000, "max_epochs": 2},
            "domains.code.available_tokens": 100_000,
            "domains.code.max_epochs": 6,
            "domains.licences.available_tokens": 100_000,
        }
    )
    assert caps_of(load_study(path)) == {"code": pytest.approx(0.6), "licences": pytest.approx(0.2)}


def test_a_reason_changes_no_result(change_study):
    plain = load_study(change_study({"search": {"groups": GROUPS[1:]}}))
    said = load_study(change_study({"search": {"groups": [GROUPS[1] | {"max_epochs_reason": "small"}]}}))
    assert plain.search.recipe() == said.search.recipe()
    assert "max_epochs" not in plain.search.recipe()["groups"][0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"domains.code.max_epochs": 0}, r"domains\.code\.max_epochs"),
        ({"domains.code.max_epochs": float("nan")}, r"domains\.code\.max_epochs"),
        (
            {"domains.code.max_epochs_reason": "why not"},
            r"domains\.code\.max_epochs_reason.*there is no max_epochs here",
        ),
        ({"domains.code.max_epochs": 3, "limits": {}}, r"domains\.code\.max_epochs.*state limits\.target_tokens"),
        ({"search": {"groups": [{"domains": ["code"], "max_epochs": -1}]}}, r"search\.groups\.0\.max_epochs"),
        ({"domains.code.max_epoch": 3}, r"did you mean max_epochs"),
    ],
)
def test_a_limit_that_says_nothing_is_refused_with_its_line(change_study, changes, says):
    with pytest.raises(StudyError, match=says):
        load_study(change_study(changes))
