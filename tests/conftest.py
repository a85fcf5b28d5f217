"""Real text that is on every machine that runs these tests, and small studies over it."""

import json
from importlib import metadata, resources
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings

# The same examples in every run, and no time limits: neither may depend on how busy the machine is.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

KILOBYTES = 300
"""Text per source: enough for a few thousand windows of a tiny model."""


def _python_code():
    yield from (path.read_text(errors="replace") for path in sorted(Path(json.__file__).parents[1].glob("*.py")))


def _licences():
    for package in sorted(metadata.distributions(), key=lambda package: package.metadata["Name"] or ""):
        for file in package.files or ():
            if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")):
                path = Path(str(file.locate()))
                if path.is_file():
                    yield path.read_text(errors="replace")


def _descriptions():
    for package in sorted(metadata.distributions(), key=lambda package: package.metadata["Name"] or ""):
        yield str(package.metadata.get_payload() or "")


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
def real_text(tmp_path_factory):
    """A folder with one JSONL per source: Python code, licences, package descriptions, and science as the target."""
    folder = tmp_path_factory.mktemp("text")
    for name, texts in SOURCES.items():
        write_jsonl(folder / f"{name}.jsonl", texts())
    return folder


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
