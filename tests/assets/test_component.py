"""A real project of Dagster's `dg` that adds studies by the component, checked and listed by `dg` itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = """
[project]
name = "lab"
version = "0.1.0"

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "lab"
"""
DEFINITIONS = """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
OWN = """
import dagster as dg


@dg.asset(deps=[dg.AssetKey(["tiny", "mixture_decision"])])
def launch_config() -> None:
    "What the large run starts from."
"""
COMPONENT = """type: regmix_pipeline.components.RegMixStudy

attributes:
  study: tiny.yaml
  home: home
  automation: false
"""


@pytest.fixture(scope="module")
def project(decided_study, tmp_path_factory):
    """A project with an asset of its own and two studies."""
    root = tmp_path_factory.mktemp("project")
    lab = root / "src" / "lab"
    (root / "pyproject.toml").write_text(PROJECT)
    shutil.copytree(decided_study, lab / "defs" / "mix")
    (lab / "defs" / "mix" / "defs.yaml").write_text(COMPONENT)
    shutil.copytree(lab / "defs" / "mix", lab / "defs" / "other")
    study = lab / "defs" / "other" / "tiny.yaml"
    study.write_text(study.read_text().replace("name: tiny", "name: other"))
    (lab / "__init__.py").touch()
    (lab / "definitions.py").write_text(DEFINITIONS)
    (lab / "defs" / "own.py").write_text(OWN)
    return root


def dg(project, *words):
    """What a command of dg prints; it has to end well."""
    command = [str(Path(sys.executable).parent / "dg"), *words]
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "DAGSTER_HOME": "", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dg_checks_a_project_with_two_studies(project):
    assert "All definitions loaded successfully" in dg(project, "check", "defs")


def test_dg_lists_its_assets_jobs_and_sensors_beside_the_projects_own(project):
    found = json.loads(dg(project, "list", "defs", "--json"))
    assets = {asset["asset_key"] for asset in found["assets"]}
    jobs = {job["name"] for job in found["jobs"]}
    sensors = {sensor["name"] for sensor in found["sensors"]}
    assert "launch_config" in assets
    for study in ("tiny", "other"):
        assert {f"{study}/mixture_decision", f"{study}/proxy_losses"} <= assets
        assert {f"{study}_{job}" for job in ("decide", "refit", "prepare_data", "train_proxies")} <= jobs
        assert {f"{study}_{sensor}" for sensor in ("new_domains", "automation", "run_failures")} <= sensors


def test_a_mistake_in_the_yaml_is_named_by_dg(project, tmp_path):
    # `dg check yaml` looks at one of two components of a kind.
    wrong = shutil.copytree(project, tmp_path / "wrong", ignore=shutil.ignore_patterns("other"))
    file = wrong / "src" / "lab" / "defs" / "mix" / "defs.yaml"
    file.write_text(file.read_text().replace("home:", "hom:"))
    command = [str(Path(sys.executable).parent / "dg"), "check", "yaml"]
    done = subprocess.run(command, cwd=wrong, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert "'hom' was unexpected" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_job_of_the_component_runs_in_the_projects_own_instance(project, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "DAGSTER_HOME": str(tmp_path)}
    command = [str(Path(sys.executable).parent / "dg"), "launch", "--job", "tiny_decide"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RUN_SUCCESS" in done.stdout + done.stderr
