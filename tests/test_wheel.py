"""What a wheel installs: the one package, with assets and resources inside it, whatever the working folder holds."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_installs_one_package_that_a_users_folders_do_not_shadow(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = tmp_path / "source"
    source.mkdir()
    # What git holds, so that a build here leaves nothing behind in the checkout.
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    kept = [name for name in names if name.startswith(("regmix_pipeline/", "assets/", "resources/")) or "/" not in name]
    for name in filter(None, kept):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (source / name).symlink_to((ROOT / name).readlink())
        else:
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "wheels"), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--no-compile", "--target", str(site), str(wheel)], check=True)
    packages = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} - {"bin"}
    assert packages == {"regmix_pipeline"}
    for name in ("assets/checks.py", "resources/dagster.yaml", "report/templates/page.html", "planning/hardware.yaml"):
        path = site / "regmix_pipeline" / name
        assert path.is_file(), name
        assert not path.parent.is_symlink()
    mine = tmp_path / "work"
    (mine / "assets").mkdir(parents=True)
    (mine / "assets" / "__init__.py").write_text("raise RuntimeError('not the package\\'s')\n")
    code = "import regmix_pipeline.definitions as d; import regmix_pipeline.assets as a; print(a.__file__)"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    found = subprocess.check_output(command, cwd=mine, text=True, env=environment, stderr=subprocess.DEVNULL)
    assert Path(found.strip()).is_relative_to(site)
