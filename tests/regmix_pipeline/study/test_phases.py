"""Phases of the large run: what they leave of each domain's epochs, and what is said of phases that make no sense."""

import re

import numpy as np
import pytest
import yaml

from regmix_pipeline.errors import MixtureError, StudyError
from regmix_pipeline.formats.data import DataFile, DomainData
from regmix_pipeline.formats.export import drawn_before, earlier_phases
from regmix_pipeline.formats.plan import sampling_plan
from regmix_pipeline.mixtures.limits import check_limits_of, limits_of
from regmix_pipeline.planning.work import caps_of, works_of
from regmix_pipeline.search.region import project_to_limits, rounded_inside
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.phases import (
    chosen,
    coordinates,
    epochs_before,
    goes_on,
    phase_parts,
    proxy_tokens,
    settled,
    tokens_before,
    tokens_of_caps,
)
from regmix_pipeline.study.phases_of_decision import as_last_phase, phases_in_decision
from regmix_pipeline.study.repetition import max_epochs_of

FIRST = {"name": "pretraining", "tokens": 600, "mixture": {"web": 0.9, "books": 0.1}}
LAST = {"name": "annealing", "tokens": 200}
STUDY = {
    "name": "tiny",
    "domains": {
        "web": {"source": {"jsonl": "web.jsonl"}, "available_tokens": 1000},
        "books": {"source": {"jsonl": "books.jsonl"}, "available_tokens": 50},
        "code": {"source": {"jsonl": "code.jsonl"}, "available_tokens": 20, "max_epochs": 5},
    },
    "targets": {"web": {"weight": 1}},
    "tokenizer": {"train": {"vocab_size": 400}},
    "proxies": {"preset": "demo", "training": {"tokens": 12_800}},
    "limits": {"max_epochs": 2},
}
AVAILABLE = {name: domain["available_tokens"] for name, domain in STUDY["domains"].items()}


@pytest.fixture
def read(tmp_path):
    """Read the study with these phases; keyword arguments change its other fields."""

    def study(*phases, **changes):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(STUDY | {"phases": list(phases)} | changes, sort_keys=False))
        return load_study(path)

    return study


def test_earlier_phases_count_against_the_epochs_of_the_last(read):
    study = read(FIRST, LAST)
    assert tokens_before(study) == {"web": 540, "books": 60}
    assert epochs_before(study, AVAILABLE) == {"web": 0.54, "books": 1.2}
    # (max_epochs x available - before) / tokens of the last phase: (2 x 50 - 60) / 200, (5 x 20 - 0) / 200
    assert limits_of(study, AVAILABLE).caps.tolist() == [1.0, 0.2, 0.5]
    assert caps_of(study) == {"books": 0.2, "code": 0.5}
    assert study.limits.target_tokens == 200
    shown = phases_in_decision(study)["phases"]
    assert shown == [FIRST, LAST | {"mixture": None}]


def test_three_phases_sum(read):
    middle = {"name": "midtraining", "tokens": 100, "mixture": {"books": 0.2, "code": 0.8}}
    study = read(FIRST, middle, LAST)
    assert tokens_before(study) == {"web": 540, "books": 80, "code": 80}
    assert limits_of(study, AVAILABLE).caps.tolist() == [1.0, 0.1, 0.1]
    # Proxies are trained through them in the large run's proportion, or as long as each says.
    assert [proxy_tokens(study, phase, 12_800) for phase in study.phases[:2]] == [38_400, 6_400]
    own = read(FIRST | {"proxy_tokens": 25_600}, middle, LAST)
    assert [proxy_tokens(own, phase, 2 * 12_800) for phase in own.phases[:2]] == [51_200, 12_800]
    works = {work.what: (work.models, work.training.tokens) for work in works_of(own)}
    assert works["pretraining of proxies"] == (1, 25_600)
    assert works["midtraining of proxies"] == (1, 6_400)


def test_phases_without_a_mixture_are_chosen_at_once(read):
    first = {"name": "warmup", "tokens": 100, "mixture": {"books": 0.2, "web": 0.8}}
    study = read(first, {"name": "pretraining", "tokens": 200}, {"name": "annealing", "tokens": 100})
    assert [phase.name for phase in settled(study)] == ["warmup"]
    assert [phase.name for phase in chosen(study)] == ["pretraining", "annealing"]
    assert study.limits.target_tokens == 300
    assert phase_parts(study) == {"pretraining": 666_667, "annealing": 333_333}
    assert coordinates(study)[2:4] == ["pretraining/code", "annealing/web"]
    # Caps are of what all of them draw of a domain: (2 x 50 - 20) / 300, (5 x 20) / 300; and as the rounding of the
    # phases' shares asks for, of a token more.
    assert tokens_of_caps(study) == 301
    assert limits_of(study, AVAILABLE).caps.tolist() == [1.0, 0.265780, 0.332225]
    assert proxy_tokens(study, study.phases[0], 12_800) == round(12_800 / 3)
    assert [(work.what, work.training.tokens) for work in works_of(study)] == [
        ("proxies", 12_800),
        ("warmup of proxies", 4267),
    ]
    assert goes_on(study)
    # Where all are chosen, there is no model to go on from.
    assert not goes_on(read({"name": "a", "tokens": 300}, LAST))
    bare = read({"name": "a", "tokens": 3000}, LAST)
    with pytest.raises(MixtureError, match="below 1, so no mixture is feasible") as caught:
        check_limits_of(bare, limits_of(bare, AVAILABLE), AVAILABLE)
    assert (caught.value.where, "lower the tokens of phases" in caught.value.remedy) == ("phases", True)
    # One that is chosen alone has the names and numbers that it always had.
    assert (phase_parts(read(FIRST, LAST)), coordinates(read(FIRST, LAST))) == ({}, ["web", "books", "code"])
    assert tokens_of_caps(read(FIRST, LAST)) == 200


def test_a_decision_of_both_is_exported_as_its_last_phase_or_another():
    weights = {"a/web": 0.6, "a/code": 0.15, "b/code": 0.25}
    rows = [{"domain": name, "weight": weight, "cap": 0.7} for name, weight in weights.items()]
    phases = [{"name": "s", "tokens": 10, "mixture": {"web": 1.0}}]
    phases += [{"name": name, "tokens": tokens, "mixture": None} for name, tokens in (("a", 75), ("b", 25))]
    record = {
        "mixture": {"id": "m", "weights": weights},
        "domains": rows,
        "limits": {"max_epochs": 4},
        "phases": phases,
    }
    last, first = as_last_phase(record), as_last_phase(record, "a")
    assert (last["mixture"]["weights"], last["limits"]["target_tokens"]) == ({"code": 1.0}, 25)
    assert [row["mixture"] for row in last["phases"]] == [{"web": 1.0}, {"web": 0.8, "code": 0.2}, {"code": 1.0}]
    assert [row["name"] for row in first["phases"]] == ["s", "a"]
    assert first["mixture"]["weights"] == {"web": 0.8, "code": 0.2}
    assert {row["domain"]: (row["weight"], row["cap"]) for row in first["domains"]} == {
        "web": (0.8, None),
        "code": (0.2, None),
    }
    with pytest.raises(StudyError, match="chose no phase 's'") as caught:
        as_last_phase(record, "s")
    assert caught.value.remedy == "name one of a, b"


@pytest.mark.parametrize("tokens", [(863_000_000_007, 137_000_000_003), (989_999_999_999, 10_000_000_001)])
def test_plans_of_large_runs_keep_caps_that_hold_both_phases(read, tokens):
    available = {"web": 10**12, "books": 30_000_000_001, "code": 40_000_000_003}
    domains = {name: domain | {"available_tokens": available[name]} for name, domain in STUDY["domains"].items()}
    phases = [{"name": name, "tokens": count} for name, count in zip(("first", "last"), tokens, strict=True)]
    proxies = STUDY["proxies"] | {"training": {"tokens": 128_000}}
    study = read(*phases, domains=domains, proxies=proxies)
    limits = limits_of(study, available).of_phases(phase_parts(study))
    # As much of books and code as there may be, most of it late.
    mixture = rounded_inside(project_to_limits(np.array([[0.1, 1.0, 1.0, 0.1, 3.0, 3.0]]), limits)[0], limits)
    sums = limits.together.table(mixture.vector(limits.domains)).sum(axis=0)
    assert sums[1:] == pytest.approx(limits.together.caps[1:])
    rows = [{"domain": name, "weight": weight} for name, weight in mixture.weights.items()]
    record = as_last_phase(
        {"mixture": {"weights": mixture.weights}, "domains": rows, "limits": {}} | phases_in_decision(study)
    )
    weights, before = record["mixture"]["weights"], drawn_before(earlier_phases(record))
    data = {name: DomainData((DataFile(name),), tokens) for name, tokens in available.items()}
    most = max_epochs_of(study)
    plan = sampling_plan(weights, data, tokens[1], 2, own_epochs=most, before=before)
    drawn = {row.domain: row.tokens + before[row.domain] for row in plan}
    assert sum(row.tokens for row in plan) == tokens[1]
    for name in ("books", "code"):
        epochs = drawn[name] / available[name]
        assert most[name] * (1 - 2e-4) < epochs <= most[name]


def test_without_phases_nothing_is_added(read):
    study = read(limits={"target_tokens": 200, "max_epochs": 2})
    assert (tokens_before(study), phases_in_decision(study)) == ({}, {})
    assert limits_of(study, AVAILABLE).caps.tolist() == [1.0, 0.5, 0.5]
    assert [work.what for work in works_of(study)] == ["proxies"]


def test_domains_that_were_used_up_leave_no_mixture(read):
    study = read(FIRST | {"mixture": {"web": 0.7, "books": 0.3}, "tokens": 2500}, LAST)
    limits = limits_of(study, AVAILABLE)
    assert limits.caps.tolist() == [1.0, 0.0, 0.5]
    check_limits_of(study, limits, AVAILABLE)
    study = read(FIRST | {"mixture": {"web": 0.9, "books": 0.1}, "tokens": 2200}, LAST)
    with pytest.raises(MixtureError, match=r"caps sum to 0\.6, below 1.*earlier phases saw web 1\.98 of 2") as caught:
        check_limits_of(study, limits_of(study, AVAILABLE), AVAILABLE)
    assert caught.value.where == "phases.0.mixture.books"
    assert "raise limits.max_epochs" in caught.value.remedy
    assert "tokens of the last phase" in caught.value.remedy


OPEN = {"name": "a", "tokens": 600}
SIZES = {"sizes": [{"preset": "regmix-1m", "mixtures": 8}]}
TARGET = {"max_epochs": 2, "target_parameters": 10**9}
TRAINER = {"trainer": {"command": "train {mixture_file} {out}", "format": "json"}}
OTHER = {"limits": {"target_tokens": 300, "max_epochs": 2}}
COMPARED = {"strategies": {"names": ["natural"], "budget_proxies": 4, "target": {"preset": "demo"}}}
WRONG = [
    # Phases, other fields of the study, the field that is named, the line that is shown, and what is said.
    ([FIRST], {}, "phases", "phases:", "two or three phases, and 1 are stated"),
    ([FIRST, {"name": "annealing"}], {}, "phases.1.tokens", "- name: annealing", "this field is needed"),
    ([OPEN, FIRST, LAST], {}, "phases.0.mixture", "- name: a", "is before a phase whose mixture is given"),
    ([OPEN | {"tokens": 2}, LAST], {}, "phases.0.tokens", "tokens: 2", "has 0.99% of the tokens of the phases"),
    ([OPEN | {"tokens": 6}, LAST], {}, "phases.0.tokens", "tokens: 6", "373 tokens of a, less than a step of 512"),
    ([OPEN | {"proxy_tokens": 9}, LAST], {}, "phases.0.proxy_tokens", "proxy_tokens: 9", "keep their proportion"),
    ([OPEN, LAST], OTHER, "limits.target_tokens", "target_tokens: 300", "the last 2 of the phases have 800"),
    (
        [OPEN, LAST],
        {"proxies": STUDY["proxies"] | {"early_stopping": {"at": 0.5}}},
        "proxies.early_stopping",
        None,
        "not seen",
    ),
    ([OPEN, LAST], {"proxies": STUDY["proxies"] | SIZES, "limits": TARGET}, "proxies.sizes", None, "a and annealing"),
    ([OPEN, LAST], {"proxies": STUDY["proxies"] | TRAINER}, "proxies.trainer", None, "is given one mixture"),
    ([OPEN, LAST], {"changes": [{"withdraw": "wiki"}]}, "changes", "changes:", "read in runs of one mixture"),
    (
        [OPEN, LAST],
        {"watch": {"address": "more", "source": {"jsonl": "*.jsonl"}}},
        "watch",
        "watch:",
        "list the domains instead",
    ),
    ([FIRST, LAST | {"mixture": {"web": 1}}], {}, "phases.1.mixture", "mixture:", "is what the study chooses"),
    ([FIRST | {"mixture": {"wbe": 1}}, LAST], {}, "phases.0.mixture.wbe", "wbe: 1", "did you mean web?"),
    ([FIRST | {"mixture": {"wiki": 1}}, LAST], {}, "phases.0.mixture.wiki", "wiki: 1", "cap: 0"),
    ([FIRST | {"mixture": {"web": 90, "books": 10}}, LAST], {}, "phases.0.mixture", "mixture:", "not percent"),
    ([FIRST, LAST | {"name": FIRST["name"]}], {}, "phases.1.name", "- name: pretraining", "another phase is called"),
    ([FIRST | {"name": "Pre training"}, LAST], {}, "phases.0.name", "- name: Pre training", "not a safe name"),
    ([FIRST, LAST | {"proxy_tokens": 100}], {}, "phases.1.proxy_tokens", "proxy_tokens: 100", "leave it out"),
    ([FIRST | {"proxy_tokens": 100}, LAST], {}, "phases.0.proxy_tokens", "proxy_tokens: 100", "than a step of 512"),
    ([FIRST | {"tokens": 1}, LAST], {}, "phases.0.proxy_tokens", "- name: pretraining", "state proxy_tokens"),
    ([FIRST, LAST], OTHER, "limits.target_tokens", "target_tokens: 300", "the last of the phases has 200"),
    ([FIRST, LAST], COMPARED, "strategies", "strategies:", "runs of one phase"),
    ([FIRST, LAST | {"minutes": 3}], {}, "phases.1.minutes", "minutes: 3", "the fields here are"),
]


@pytest.mark.parametrize(("phases", "changes", "field", "line", "said"), WRONG, ids=lambda each: str(each)[:30])
def test_what_makes_no_sense_is_named_by_file_line_field_and_remedy(read, tmp_path, phases, changes, field, line, said):
    with pytest.raises(StudyError, match=re.escape(said)) as caught:
        read(*phases, **changes)
    place = re.search(rf"tiny\.yaml:(\d+): {re.escape(field)}: ", str(caught.value))
    assert place, str(caught.value)
    shown = (tmp_path / "tiny.yaml").read_text().splitlines()[int(place[1]) - 1].strip()
    assert shown == (line or f"{field.rpartition('.')[2]}:")


def test_a_cap_of_nothing_is_for_domains_of_earlier_phases(read):
    kept_out = {"domains": STUDY["domains"] | {"web": STUDY["domains"]["web"] | {"cap": 0}}}
    assert limits_of(read(FIRST, LAST, **kept_out), AVAILABLE).caps.tolist() == [0.0, 0.2, 0.5]
    with pytest.raises(StudyError, match=r"domains\.web\.cap: no mixture could hold any of it: remove the domain"):
        read(**kept_out, limits={"target_tokens": 200})
