"""What a wheel installs, used from a fresh environment that has neither pip nor any extra, as uv makes them."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
OF_EXTRAS = re.compile(
    r"_*(torch|functorch|openlineage|attrs?|prov|ray|s3fs|dagster_postgres|pip|editable|regmix).*", re.I
)
"""What an environment of the base install lacks."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of what git holds so that nothing is left behind in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    parts = ("regmix_pipeline/", "assets/", "resources/", "studies/")
    for name in (name for name in names if name and (name.startswith(parts) or "/" not in name)):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (source / name).symlink_to((ROOT / name).readlink())
        else:
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "-w", str(folder), str(source)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory):
    """Folder of commands of an environment with the wheel and its requirements alone."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    for each in Path(sysconfig.get_path("purelib")).iterdir():
        if not OF_EXTRAS.fullmatch(each.name):
            (site / each.name).symlink_to(each)
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    command = folder / "bin" / "regmix"
    command.write_text(f"#!{folder}/bin/python\nfrom regmix_pipeline.__main__ import main\nmain()\n")
    command.chmod(0o755)
    return command.parent


def run(base, folder, *words, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGMIX_", "PYTHONPATH"))}
    return subprocess.run(
        [base / words[0], *words[1:]], cwd=folder, capture_output=True, text=True, env={**environment, **variables}
    )


def test_a_wheel_holds_one_package_with_its_files(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"regmix_pipeline"}
    for name in ("assets/checks.py", "resources/dagster.yaml", "report/templates/page.html", "planning/hardware.yaml"):
        assert f"regmix_pipeline/{name}" in names
    assert "regmix_pipeline/py.typed" in names
    assert zipfile.ZipFile(wheel).read("regmix_pipeline/study_init/demo.yaml") == (
        (ROOT / "studies" / "demo.yaml").read_bytes()
    )
    metadata = next(name for name in names if name.endswith("/METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    required = [line for line in text.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not [line for line in required if re.search(r"torch|openlineage|prov|cvxpy\b(?!-base)|ray\b", line)]
    assert all(f"Programming Language :: Python :: 3.{minor}" in text for minor in (11, 12, 13))


def test_a_users_folders_do_not_shadow_the_package(base, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "__init__.py").write_text("raise RuntimeError('not the package\\'s')\n")
    code = "import regmix_pipeline.definitions as d; import regmix_pipeline.assets as a; print(a.__file__)"
    found = run(base, tmp_path, "python", "-W", "ignore", "-c", code)
    assert Path(found.stdout.strip()).is_relative_to(base.parent), found.stderr


def test_version_and_completion(base, tmp_path):
    said = run(base, tmp_path, "regmix", "--version")
    assert re.fullmatch(r"regmix \d+\.\d+\.\d+\n", said.stdout), said.stderr
    variables = {"_REGMIX_COMPLETE": "complete_bash", "COMP_WORDS": "regmix expo", "COMP_CWORD": "1"}
    assert run(base, tmp_path, "regmix", **variables).stdout.split() == ["export", "export-proxy"]


def test_the_demo_of_a_base_install_is_written_and_says_at_once_what_is_missing(base, tmp_path):
    ran = run(base, tmp_path, "regmix", "run", "--demo")
    assert ran.returncode == 1
    assert "pip install 'regmix-pipeline[train]'" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert yaml.safe_load((tmp_path / "demo.yaml").read_text())["name"] == "demo"
    # Nothing was downloaded, and every command finds the study now, which is the user's own.
    (tmp_path / "demo.yaml").write_text((tmp_path / "demo.yaml").read_text().replace("seed: 42", "seed: 7"))
    found = run(base, tmp_path, "regmix", "status", "--json")
    assert json.loads(found.stdout), found.stderr
    assert "demo.yaml is there already" in run(base, tmp_path, "regmix", "run", "--demo").stderr
    assert "seed: 7" in (tmp_path / "demo.yaml").read_text()
    assert not list(tmp_path.rglob("*.whl"))


def test_without_torch_runs_are_imported_fitted_and_decided(base, tmp_path):
    shares = [(i / 15, j / 15) for i in range(1, 13, 3) for j in range(1, 14 - i, 3)]
    weights = [(a, b, 1 - a - b) for a, b in shares]
    rows = [f"r{n},{a:.6f},{b:.6f},{1 - round(a, 6) - round(b, 6):.6f}" for n, (a, b, _) in enumerate(weights)]
    losses = [f"r{n},{2 + (a - 0.5) ** 2 + (b - 0.3) ** 2:.6f}" for n, (a, b, _) in enumerate(weights)]
    (tmp_path / "m.csv").write_text("\n".join(["index,web,code,books", *rows]))
    (tmp_path / "l.csv").write_text("\n".join(["index,science", *losses]))
    imported = run(base, tmp_path, "regmix", "import-runs", "m.csv", "l.csv")
    assert imported.returncode == 0, imported.stderr
    decided = run(base, tmp_path, "regmix", "run", "--study", "imported.yaml", "--json")
    assert decided.returncode == 0, decided.stderr
    decision = json.loads(decided.stdout)["decision"]
    assert "torch" not in decision["environment"]["libraries"]
    assert list(tmp_path.rglob("reports/*.html"))
    # A lineage export is an extra as well; the message names it.
    refused = run(base, tmp_path, "regmix", "lineage", "--study", "imported.yaml")
    assert refused.returncode == 1
    assert "pip install 'regmix-pipeline[lineage]'" in refused.stderr
