"""uv.lock says the same as constraints.txt and pyproject.toml, and names no index but the public one."""

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
REMEDY = "make lock"


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_is_of_these_requirements_and_pins():
    text = (ROOT / "uv.lock").read_text()
    packages = {plain(each["name"]): each for each in tomllib.loads(text)["package"]}
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {plain(name): version for name, version in pins.items()}
    other = {
        name: each.get("version")
        for name, each in packages.items()
        if pins.get(name, each.get("version")) != each.get("version")
    }
    assert not other, REMEDY
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = {
        plain(re.match(r"[\w.-]+", line)[0]) for lines in (project["dependencies"], *extras.values()) for line in lines
    }
    locked = {plain(each["name"]) for each in packages["regmix-pipeline"]["metadata"]["requires-dist"]}
    assert asked == locked, REMEDY
    assert set(packages["regmix-pipeline"]["metadata"]["provides-extras"]) == set(extras), REMEDY
    hosts = {urlsplit(address).hostname for address in re.findall(r'"(https?://[^"]+)"', text)}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
