"""Real text that is on every machine that runs these tests, and small studies over it."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import metadata, resources
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from hypothesis import HealthCheck, settings

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.stages import STAGES, up_to

# The same examples in every run, and no time limits: neither may depend on how busy the machine is.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

ROOM = 8 * 2**30
"""Bytes that have to be free in memory for temporary files to be kept there; several times what they take."""
MEMORY = Path("/dev/shm")
PACKAGES = (
    *(
        "Flask",
        "Jinja2",
        "Mako",
        "Markdown",
        "MarkupSafe",
        "PyYAML",
        "Pygments",
        "SQLAlchemy",
        "Werkzeug",
        "aiobotocore",
    ),
    *("aiohappyeyeballs", "aiohttp", "aioitertools", "aiosignal", "alembic", "annotated-doc", "annotated-types"),
    *(
        "antlr4-python3-runtime",
        "anyio",
        "asttokens",
        "attrs",
        "babel",
        "backoff",
        "backrefs",
        "beautifulsoup4",
        "bleach",
    ),
    *("blinker", "boto3", "botocore", "certifi", "cffi", "cfgv", "charset-normalizer", "clarabel", "click"),
    *("cloudpickle", "colorama", "coloredlogs", "comm", "cryptography", "cvxpy-base", "dagster", "dagster-graphql"),
    *("dagster-pipes", "dagster-postgres", "dagster-shared", "dagster-webserver", "datasets", "datatrove", "debugpy"),
    *(
        "defusedxml",
        "dill",
        "distlib",
        "docstring_parser",
        "duckdb",
        "execnet",
        "executing",
        "fastjsonschema",
        "filelock",
    ),
    *("flask-cors", "frozenlist", "fsspec", "ghp-import", "google-auth", "googleapis-common-protos", "gql", "graphene"),
    *("graphql-core", "graphql-relay", "greenlet", "griffelib", "grimp", "grpcio", "grpcio-health-checking", "h11"),
    *("hf-xet", "httpcore2", "httptools", "httpx2", "huggingface_hub", "humanfriendly", "humanize", "hypothesis"),
    *("identify", "pluggy", "pytest", "requests", "rich", "scikit-learn", "sympy", "tornado", "typer", "wcwidth"),
)
"""Installed packages whose licences and descriptions are texts: named, so that another one changes no test."""
KILOBYTES = 300
"""Text per source: enough for a few thousand windows of a tiny model."""


def pytest_configure():
    """Settings that pytest's workers inherit.

    One thread each: there is a worker for every core already, and threads of one that wait for a core spin.
    Temporary files are kept in memory where there is room: most waits of a home being written are for the disk.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and min(_free_memory(), shutil.disk_usage(MEMORY).free) > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


LONG = ("test_wheel.py", "test_contributing.py", "test_ray", "strategies/")
"""Parts of the paths of files that take long and would come late: one worker would end with them, the others idle."""


def pytest_collection_modifyitems(items):
    """Begin with files that take long; all others keep their order."""
    items.sort(key=lambda item: not any(part in item.path.as_posix() for part in LONG))


def _free_memory():
    """Bytes that programs may still take."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _python_code():
    yield from (path.read_text(errors="replace") for path in sorted(Path(json.__file__).parents[1].glob("*.py")))


def _packages():
    for name in PACKAGES:
        # A base install has not all of them.
        with suppress(metadata.PackageNotFoundError):
            yield metadata.distribution(name)


def _licences():
    for package in _packages():
        for file in package.files or ():
            if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")):
                path = Path(str(file.locate()))
                if path.is_file():
                    yield path.read_text(errors="replace")


def _descriptions():
    for package in _packages():
        # From the file: once mlflow has imported the backport importlib_metadata, the parsed one has it elsewhere.
        yield (package.read_text("METADATA") or "").partition("\n\n")[2]


def _science():
    folder = resources.files("sklearn.datasets") / "descr"
    yield from (path.read_text() for path in sorted(folder.iterdir(), key=str) if path.name.endswith(".rst"))


SOURCES = {"code": _python_code, "licences": _licences, "descriptions": _descriptions, "science": _science}


def write_jsonl(path, texts, kilobytes=KILOBYTES):
    """Write distinct texts, cut into pieces of 4 kB, up to so many kilobytes."""
    written, seen = 0, set()
    with path.open("w", encoding="utf-8") as file:
        for text in texts:
            for start in range(0, len(text), 4_000):
                piece = text[start : start + 4_000].encode("utf-8", "ignore").decode()
                if len(piece) < 200 or piece in seen:
                    continue
                seen.add(piece)
                written += file.write(json.dumps({"id": str(len(seen)), "text": piece}) + "\n")
            if written > kilobytes * 1000:
                return


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """``made_once(name, make)``: a folder that ``make(folder)`` filled, once for all workers. Tests change copies."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name, make):
        folder = shared / name
        with FileLock(shared / f".{name}.lock"):
            if not folder.exists():
                begun = tmp_path_factory.mktemp(name)
                make(begun)
                begun.rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def real_text(made_once):
    """A folder with one JSONL per source: Python code, licences, package descriptions, and science as the target."""

    def make(folder):
        for name, texts in SOURCES.items():
            write_jsonl(folder / f"{name}.jsonl", texts())

    return made_once("text", make)


@pytest.fixture(scope="session")
def tiny_settings():
    """A study that runs in seconds, over text in the folder ``text`` beside its file, as the mapping its YAML holds."""
    return {
        "name": "tiny",
        "description": "Which mixture of code, licences and descriptions predicts science text best?",
        "seed": 7,
        "domains": {name: {"source": {"jsonl": f"text/{name}.jsonl"}} for name in ("code", "licences", "descriptions")},
        "targets": {
            "science": {"source": {"jsonl": "text/science.jsonl"}, "weight": 1},
            "code": {"weight": 0},
        },
        "tokenizer": {"train": {"vocab_size": 512, "bytes_per_domain": 100_000}},
        "shards": {"validation_fraction": 0.1},
        "mixtures": {"count": 12, "minimum": 0.05, "anchors": {"natural": True}},
        "proxies": {
            "preset": "demo",
            "model": {"context": 32, "layers": 1, "width": 32, "heads": 2, "ffn_width": 64},
            "training": {"tokens": 16_384, "windows_per_step": 16, "learning_rate": 0.02},
            "evaluation": {"windows": 64, "trajectory_points": 3},
            "noise": {"mixtures": 3, "seeds": 2},
            # To start another worker costs more than it trains.
            "workers": 1,
        },
        "limits": {"target_tokens": 400_000, "max_epochs": 4},
        "confirmation": {
            "preset": "demo-large",
            "model": {"context": 32, "layers": 2, "width": 48, "heads": 2, "ffn_width": 96},
            "training": {"tokens": 32_768, "learning_rate": 0.02},
            "seeds": 1,
        },
    }


@pytest.fixture(scope="session")
def quick_settings(tiny_settings):
    """A tiny study that decides in seconds and confirms nothing; its three weights are unlike."""
    floors = {"code": 0.1, "licences": 0.2, "descriptions": 0.3}
    return {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "domains": {name: domain | {"floor": floors[name]} for name, domain in tiny_settings["domains"].items()},
        "regression": {"regressors": ["linear", "saturation"]},
        "search": {"method": "optimiser"},
    }


def run_study(folder, settings, stages=None):
    """Write a study and bring stages of it up to date through Dagster, by default until its decision; its workspace."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    # One worker: to start another one costs more than it trains.
    workspace = Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None, workers=1)
    run_stale(workspace, stages or up_to(MIXTURE_DECISION))
    return workspace


@pytest.fixture(scope="session")
def decide():
    """`run_study`."""
    return run_study


@pytest.fixture(scope="session")
def decided_study(made_once, real_text, quick_settings, decide):
    """The folder of a tiny study with two decisions.

    The second is under a tighter cap, with a mixture made by hand to compare with.
    """
    hand = {"code": 0.2, "licences": 0.3, "descriptions": 0.5}

    def make(folder):
        shutil.copytree(real_text, folder / "text")
        decide(folder, quick_settings)
        limits = {"target_tokens": 500_000, "max_epochs": 4}
        decide(folder, quick_settings | {"alternatives": {"by_hand": hand}, "limits": limits})

    return made_once("decided", make)


@pytest.fixture(scope="session")
def finished_study(made_once, real_text, tiny_settings):
    """The folder of a tiny study that the real command ran to its end, with larger models and a report."""
    settings = tiny_settings | {
        "regression": {"regressors": ["linear", "lightgbm", "saturation"], "bootstrap": 50, "extrapolation": "off"},
        "search": {"candidates": 2000, "screen": 500},
    }

    def make(folder):
        shutil.copytree(real_text, folder / "text")
        (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        command = [sys.executable, "-m", "regmix_pipeline", "run", "--study", "tiny.yaml", "--home", "home"]
        done = subprocess.run([*command, "--workers", "1"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return made_once("finished", make)


@pytest.fixture(scope="session")
def watched_study(made_once, real_text, tiny_settings):
    """The folder of a tiny study of two domains, and of those that come into its folder inbox; run to its end."""
    settings = {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "domains": {name: tiny_settings["domains"][name] for name in ("code", "licences")},
        "watch": {"address": "inbox", "source": {"jsonl": "*.jsonl"}},
        "regression": {"regressors": ["linear", "exponential"]},
        "mixtures": {"count": 8, "minimum": 0.05, "anchors": {"natural": True}},
        "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 0}},
        "refit": {"cron": "0 3 * * *", "settle_seconds": 0},
    }

    def make(folder):
        (folder / "inbox").mkdir()
        shutil.copytree(real_text, folder / "text")
        run_study(folder, settings, STAGES)

    return made_once("watched", make)


@pytest.fixture
def study_file(tmp_path, real_text, tiny_settings):
    """A tiny study on disk, over text that a test may change."""
    text = tmp_path / "text"
    text.mkdir()
    for path in real_text.iterdir():
        (text / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_settings, sort_keys=False))
    return path


@pytest.fixture
def change_study(study_file):
    """Change fields of the tiny study: ``change_study({"domains.code.cap": 0.2})``; None removes a field."""

    def change(changes):
        settings = yaml.safe_load(study_file.read_text())
        for place, value in changes.items():
            *parents, last = place.split(".")
            part = settings
            for parent in parents:
                part = part.setdefault(parent, {})
            if value is None:
                part.pop(last, None)
            else:
                part[last] = value
        study_file.write_text(yaml.safe_dump(settings, sort_keys=False))
        return study_file

    return change
