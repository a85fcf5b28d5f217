"""What an install downloads, from uv.lock: the wheels for Linux on x86-64 and Python 3.11.

python benchmarks/download_size.py            # the base install, with train, and all that development needs
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

LOCK = Path(__file__).parents[1] / "uv.lock"
INSTALLS = {"base": (), "train": ("train",), "train, without CUDA": ("train",), "dev, docs": ("dev", "docs")}
SYSTEM = {
    "python_full_version": "3.11.9",
    "python_version": "3.11",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
}
OF_CUDA = ("nvidia-", "cuda-", "triton")


def wheel_bytes(package: dict[str, Any]) -> int:
    """Size of the wheel that such a machine takes, or of the source where there is none."""

    def fits(tag: Tag) -> bool:
        python = tag.interpreter in ("py3", "py2.py3", "cp311") or (tag.abi == "abi3" and tag.interpreter < "cp312")
        return python and (tag.platform == "any" or ("manylinux" in tag.platform and tag.platform.endswith("x86_64")))

    wheels = package.get("wheels", [])
    sizes = [each["size"] for each in wheels if any(map(fits, parse_wheel_filename(each["url"].rsplit("/", 1)[1])[3]))]
    return min(sizes) if sizes else package.get("sdist", {}).get("size", 0)


def installed(packages: dict[str, dict[str, Any]], extras: tuple[str, ...]) -> set[str]:
    """Names of all packages that come with the extras."""
    done: set[tuple[str, str]] = set()
    waiting = [("regmix-pipeline", extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in done:
            continue
        done.add((name, extra))
        package = packages[name]
        needs = package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
        for need in needs:
            if "marker" not in need or Marker(need["marker"]).evaluate(SYSTEM):
                waiting += [(need["name"], wanted) for wanted in ("", *need.get("extra", ()))]
    return {name for name, _ in done} - {"regmix-pipeline"}


def main() -> None:
    """Print packages and megabytes of each install."""
    packages = {each["name"]: each for each in tomllib.loads(LOCK.read_text())["package"]}
    print("| install | packages | MB |\n|---|---:|---:|")
    for label, extras in INSTALLS.items():
        names = installed(packages, extras)
        if "without" in label:
            names = {name for name in names if not name.startswith((*OF_CUDA, "torch"))}
        total = sum(wheel_bytes(packages[name]) for name in names)
        said = f"{total / 1e6:,.0f}{' and torch for CPUs' if 'without' in label else ''}"
        print(f"| {label} | {len(names):,} | {said} |")


if __name__ == "__main__":
    main()
