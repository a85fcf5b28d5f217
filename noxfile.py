"""The tests on every supported Python: `nox`, or `nox -s base` and `nox -s tests` apart; `nox -s base-3.13` for one.

`base` is what `pip install regmix-pipeline` gives, without torch: runs that were imported, regressors, search and
decisions. `lowest` is the same with the oldest versions that pyproject.toml allows. `training` adds torch, and trains
and measures proxies. `tests` is the whole suite. An interpreter that is not here is skipped, and named.

On Linux the package index's torch brings CUDA, 3 GB for each Python: `UV_TORCH_BACKEND=cpu nox` takes torch for CPUs.
"""

import json
import shutil
import tempfile
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
TORCH_FREE = [
    "tests/test_wheel.py",
    "tests/regmix_pipeline/api",
    "tests/regmix_pipeline/blends",
    "tests/regmix_pipeline/engine",
    "tests/regmix_pipeline/regression",
    "tests/regmix_pipeline/search",
    "tests/regmix_pipeline/study",
]
"""What runs without torch."""
TRAINED = [
    "--ignore=tests/regmix_pipeline/study/settings/test_proxies.py",
    "--deselect=tests/regmix_pipeline/blends/test_audit_blend.py::"
    "test_the_command_audits_against_a_study_and_leaves_with_status_1_when_anything_is_wrong",
]
"""Tests of those folders that train a study."""
TRAINING = [f"tests/regmix_pipeline/proxies/test_{name}.py" for name in ("train", "evaluate", "optimiser", "parallel")]
"""Tests that train a proxy, of a minute together."""
TOOLS = [
    *("pytest>=9", "pytest-timeout>=2.4", "pytest-xdist>=3.8", "hypothesis>=6.140", "syrupy>=7,<8"),
    *("moto[s3]>=5.1", "pandas>=2.3", "pip>=25", "setuptools>=77"),
]

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["base", "lowest", "training", "tests"]


@nox.session(python=PYTHONS)
def base(session: nox.Session) -> None:
    """The base install, with nothing of any extra."""
    session.install("-c", "constraints.txt", ".", *TOOLS)
    session.run("pytest", *(session.posargs or [*TORCH_FREE, *TRAINED]))


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The base install with the lowest versions of what it names itself; needs uv."""
    session.install("--resolution", "lowest-direct", ".", *TOOLS)
    session.run("pytest", *(session.posargs or [*TORCH_FREE, *TRAINED]))


@nox.session(python=PYTHONS)
def training(session: nox.Session) -> None:
    """The extra `train`: proxies trained, continued and measured."""
    session.install("-c", "constraints.txt", ".[train]", *TOOLS)
    session.run("pytest", *(session.posargs or TRAINING))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Everything that `make test` runs."""
    session.install("-c", "constraints.txt", "-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session(python=False, default=False)
def lock(session: nox.Session) -> None:
    """Write uv.lock with the versions of constraints.txt: uv does not read that file, but keeps what a lock has."""
    pins = [line for line in Path("constraints.txt").read_text().splitlines() if not line.startswith("#")]
    project = Path("pyproject.toml").read_text()
    constrained = project.replace("[tool.uv]\n", f"[tool.uv]\nconstraint-dependencies = {json.dumps(pins)}\n")
    # Settings of this machine, such as an index of its own, are no part of the lock.
    uv_lock = ("uv", "lock", "--no-config", "--default-index", "https://pypi.org/simple")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("README.md", "LICENSE", "regmix_pipeline"):
            Path(folder, name).symlink_to(Path(name).resolve())
        Path(folder, "pyproject.toml").write_text(constrained)
        session.run(*uv_lock, "--project", folder)
        shutil.copy(Path(folder, "uv.lock"), "uv.lock")
    session.run(*uv_lock)
