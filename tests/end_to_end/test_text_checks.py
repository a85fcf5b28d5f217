"""A target's text inside a domain: `regmix run` refuses much of it before it trains, and the decision flags less."""

import json

import pytest


def pour(study, share):
    """Put a share of the target's documents into a domain."""
    text = study.folder / "text"
    lines = (text / "science.jsonl").read_text().splitlines(keepends=True)
    with (text / "licences.jsonl").open("a") as file:
        file.writelines(lines[: int(share * len(lines))])


@pytest.fixture
def small(study, change_study):
    """The study without what these tests do not look at."""
    change_study(
        {
            "mixtures.count": 8,
            "proxies.noise": {"mixtures": 1, "seeds": 2},
            "proxies.evaluation.windows": 16,
            "confirmation": None,
            "regression": {"regressors": ["linear"], "bootstrap": 50, "extrapolation": "off"},
            "search": {"candidates": 500, "screen": 200},
        }
    )
    return study


def test_much_of_a_target_inside_a_domain_is_refused_before_training(small, change_study):
    pour(small, 1)
    said = small.does("run", status=1)
    assert "of the text of target science is also in the training text of licences" in said
    assert "error: text_checks: licences: " in said
    assert "remedy: take this text out of one of them" in said
    assert said.count("remedy: ") == said.count("run again: finished work is kept") == 1
    assert not (small.home / "proxies").exists()
    # As the remedy says; nothing is refused any more, and the study goes on to train.
    change_study({"text_checks.refuse_overlap": 1})
    small.does("train", "--slice", "1/9")
    assert list(small.home.glob("proxies/p*/proxy.json"))


def test_some_of_a_target_inside_a_domain_is_flagged_wherever_the_decision_is_read(small, change_study):
    pour(small, 0.2)
    flag = "of the text of target science is also in the training text of licences"
    assert flag in small.does("run")
    (decision,) = small.home.glob("decisions/*/decision.json")
    (flagged,) = [each for each in json.loads(decision.read_text())["flags"] if flag in each]
    assert f"flag: {flagged}" in small.does("audit", "--no-contents")
    (report,) = small.home.glob("reports/*.html")
    assert flag in report.read_text()
    (line,) = (line for line in small.does("status").splitlines() if line.startswith("flag: "))
    assert flag in line
    assert "remedy: take this text out of one of them" in line
    change_study({"text_checks.flag_overlap": 1, "text_checks.flag_runs": 1})
    assert "flag: " not in small.does("status")
