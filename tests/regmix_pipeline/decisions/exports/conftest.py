"""A decision of a small study that was really run, and files exported from it."""

import pytest

from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.exports.decided import export_decision


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
