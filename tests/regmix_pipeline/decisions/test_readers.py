"""Who may only read a finished study can look at all of it, and learns what the rest would need."""

import os
import shutil
import subprocess
import sys

import pytest

# Root may write anywhere, until it gives that up.
WITHOUT_PRIVILEGES = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []

pytestmark = pytest.mark.skipif(
    bool(WITHOUT_PRIVILEGES) and shutil.which("setpriv") is None, reason="needs util-linux's setpriv"
)


@pytest.fixture
def read_only(workspace):
    """A finished study of which nothing may be written."""
    folder = workspace.study_file.parent
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    yield workspace
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)


def regmix(workspace, *words):
    places = ["--study", str(workspace.study_file), "--home", str(workspace.home)]
    command = [*WITHOUT_PRIVILEGES, sys.executable, "-m", "regmix_pipeline", *words, *places]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=300)


@pytest.mark.parametrize("words", [("status",), ("audit",), ("explain", "code"), ("plan",)])
def test_looking_needs_no_permission_to_write(read_only, words):
    done = regmix(read_only, *words)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize("words", [("run",), ("refit",), ("approve", "--reason", "fine")])
def test_what_writes_names_the_folder_and_the_remedy(read_only, words):
    done = regmix(read_only, *words)
    assert done.returncode == 1, done.stderr
    assert f"error: {read_only.home}" in done.stderr
    assert "remedy: " in done.stderr
    assert "Traceback" not in done.stderr
