"""A study with two decisions, for the tests of records, audits and verdicts; tests of one subject have their own."""

import shutil

import pytest
import yaml

from assets.runner import run_stale
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.lab import Lab
from regmix_pipeline.stages import STAGES

UNTIL_DECISION = STAGES[: STAGES.index(MIXTURE_DECISION) + 1]
HAND = {"code": 0.2, "licences": 0.3, "descriptions": 0.5}


@pytest.fixture(scope="package")
def decided(real_text, tiny_settings, tmp_path_factory):
    """A tiny study with two decisions: the second under a tighter cap, with a mixture made by hand to compare with."""
    folder = tmp_path_factory.mktemp("audit")
    shutil.copytree(real_text, folder / "text")
    settings = {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "regression": {"regressors": ["linear", "saturation"]},
        "search": {"method": "optimiser"},
    }
    for more in ({}, {"alternatives": {"by_hand": HAND}, "limits": {"target_tokens": 500_000, "max_epochs": 4}}):
        (folder / "tiny.yaml").write_text(yaml.safe_dump(settings | more, sort_keys=False))
        run_stale(Lab(folder / "tiny.yaml", folder / "home", say=lambda line: None), UNTIL_DECISION)
    return folder


@pytest.fixture
def reopened(decided, tmp_path):
    """A copy of the study that a test may change, and a function that opens it as it is then."""
    shutil.copytree(decided, tmp_path / "study")
    return lambda: Lab(tmp_path / "study" / "tiny.yaml", tmp_path / "study" / "home", say=lambda line: None)


@pytest.fixture
def lab(reopened):
    """A copy of the study that a test may spoil."""
    return reopened()
