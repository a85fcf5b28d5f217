"""A study with two decisions, for the tests of records, audits, verdicts, exports and lineage."""

import shutil

import pytest

from regmix_pipeline.engine.workspace import Workspace


@pytest.fixture
def reopened(decided_study, tmp_path):
    """A copy of the study that a test may change, and a function that opens it as it is then."""
    # At the same depth below its own text: the study's addresses are relative to its file.
    folder = shutil.copytree(decided_study, tmp_path / "study")
    # One worker: to start another one costs more than it trains.
    return lambda: Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None, workers=1)


@pytest.fixture
def workspace(reopened):
    """A copy of the study that a test may spoil."""
    return reopened()
