"""Two phases chosen at once by the real command: from the study file to proxies, a decision, and what is exported."""

import json
import shutil

import pytest

from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace
from tests.end_to_end.test_changes import regmix, write

TOKENS = 16_384
BEFORE = {"name": "warmup", "tokens": 100_000, "mixture": {"licences": 1}, "proxy_tokens": 2_048}
CHOSEN = [{"name": "pretraining", "tokens": 600_000}, {"name": "annealing", "tokens": 300_000}]
AVAILABLE = {"code": 150_000, "licences": 250_000, "descriptions": 200_000}


@pytest.fixture(scope="module")
def settings(tiny_settings):
    plain = {name: value for name, value in tiny_settings.items() if name != "confirmation"}
    domains = {name: domain | {"available_tokens": AVAILABLE[name]} for name, domain in plain["domains"].items()}
    return plain | {
        "domains": domains,
        "phases": [BEFORE, *CHOSEN],
        "limits": {"max_epochs": 3},
        "mixtures": {"count": 10, "minimum": 0.05, "anchors": {"natural": True}, "rounds": {"number": 1}},
        "regression": {"regressors": ["saturation", "ngrams"], "bootstrap": 50, "extrapolation": "off"},
        "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 0}},
    }


@pytest.fixture(scope="module")
def decided(real_text, settings, tmp_path_factory):
    """The folder; what `regmix status` said before; what `regmix run` said."""
    folder = tmp_path_factory.mktemp("together")
    shutil.copytree(real_text, folder / "text")
    write(folder, settings)
    said = json.loads(regmix(folder, "status", "--json"))
    return folder, said, json.loads(regmix(folder, "run", "--json"))


@pytest.fixture
def workspace(decided):
    return Workspace(decided[0] / "tiny.yaml", decided[0] / ".regmix/tiny", say=lambda line: None)


def test_it_runs(decided, workspace):
    record = find_decision(workspace)
    print(json.dumps(record["domains"], indent=1)[:3000])
    print(decided[0], decided[1])
    print(record["summary"])
    print(regmix(decided[0], "run"))
