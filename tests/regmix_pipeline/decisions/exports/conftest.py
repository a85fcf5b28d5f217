"""A small study that was really run until its decision, for files to be exported from."""

import shutil

import pytest

from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.exports.formats import export_decision


@pytest.fixture(scope="session")
def decided(folder_of, quick_settings, decide):
    """A study's folder with a decision in its home: three domains of unlike weights."""
    floors = {"code": 0.15, "licences": 0.25, "descriptions": 0.35}
    folder = folder_of("exports")
    domains = {name: domain | {"floor": floors[name]} for name, domain in quick_settings["domains"].items()}
    decide(folder, quick_settings | {"domains": domains})
    return folder


@pytest.fixture
def workspace(decided, tmp_path):
    """A copy of the study that a test may change."""
    # At the same depth below its own text: the study's addresses are relative to its file.
    shutil.copytree(decided, tmp_path / "study")
    return Workspace(tmp_path / "study" / "tiny.yaml", tmp_path / "study" / "home", say=lambda line: None)


@pytest.fixture
def decision(workspace):
    """The record of the workspace's decision."""
    return find_decision(workspace)


@pytest.fixture
def export(workspace, tmp_path):
    """Export the workspace's decision without approval: ``export("hf", template=...)``; returns what was written."""

    def write(name, **options):
        options = {"out": tmp_path / "out" / f"mixture.{name}", "unapproved": True} | options
        return export_decision(workspace, None, name, **options)

    return write
