"""A study with two decisions, for the tests of records, audits and verdicts; tests of one subject have their own."""

import shutil

import pytest
import yaml

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.stages import up_to

HAND = {"code": 0.2, "licences": 0.3, "descriptions": 0.5}


@pytest.fixture(scope="session")
def quick_settings(tiny_settings):
    """A tiny study that decides in seconds and confirms nothing."""
    return {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "regression": {"regressors": ["linear", "saturation"]},
        "search": {"method": "optimiser"},
    }


@pytest.fixture(scope="session")
def folder_of(real_text, tmp_path_factory):
    """``folder_of(name)``: a new folder with the text of a tiny study, which stands in tiny.yaml beside it."""

    def made(name):
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(real_text, folder / "text")
        return folder

    return made


def opened(folder):
    """The workspace of a tiny study in a folder."""
    # One worker: to start another one costs more than it trains.
    return Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None, workers=1)


@pytest.fixture(scope="session")
def decide():
    """``decide(folder, settings)``: write the study and run it until its decision, through Dagster; its workspace."""

    def run(folder, settings):
        (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        workspace = opened(folder)
        run_stale(workspace, up_to(MIXTURE_DECISION))
        return workspace

    return run


@pytest.fixture(scope="package")
def decided(folder_of, quick_settings, decide):
    """A tiny study with two decisions: the second under a tighter cap, with a mixture made by hand to compare with."""
    folder = folder_of("audit")
    for more in ({}, {"alternatives": {"by_hand": HAND}, "limits": {"target_tokens": 500_000, "max_epochs": 4}}):
        decide(folder, quick_settings | more)
    return folder


@pytest.fixture
def reopened(decided, tmp_path):
    """A copy of the study that a test may change, and a function that opens it as it is then."""
    shutil.copytree(decided, tmp_path / "study")
    return lambda: opened(tmp_path / "study")


@pytest.fixture
def workspace(reopened):
    """A copy of the study that a test may spoil."""
    return reopened()
