"""A study whose proxies Hugging Face transformers trains, by the example of the studies, until its decision."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.end_to_end.test_changes import proxies, regmix, write

pytestmark = pytest.mark.consumers
EXAMPLE = Path(__file__).parents[3] / "studies" / "command" / "huggingface.py"


def test_transformers_trains_the_proxies_of_a_study(real_text, tiny_settings, tmp_path):
    shutil.copytree(real_text, tmp_path / "text")
    shutil.copy(EXAMPLE, tmp_path)
    trainer = {
        "command": f"{sys.executable} huggingface.py {{mixture_file}} {{out}} {{seed}}",
        "files": ["huggingface.py"],
    }
    settings = {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "mixtures": {"count": 8, "minimum": 0.05},
        "regression": {"regressors": ["linear", "exponential"], "bootstrap": 50},
        "proxies": {
            "preset": "demo",
            "model": {"context": 32},
            "training": {"tokens": 16_384},
            "noise": {"mixtures": 2, "seeds": 2},
            "workers": 1,
            "trainer": trainer,
        },
    }
    write(tmp_path, settings)
    decision = json.loads(regmix(tmp_path, "run", "--json"))["decision"]
    # Eight sampled mixtures and the natural one; two of them with a second seed.
    assert len(proxies(tmp_path)) == 11
    assert all(check["passed"] for check in decision["checks"] if "executed" in check["check"])
    home = tmp_path / ".regmix" / "tiny"
    for path in home.glob("proxies/p*/losses.json"):
        reported = json.loads(path.read_text())
        # Better than a guess among the 512 tokens.
        assert reported["losses"]["science"]["loss"] < 6.0
        assert reported["parameters"] > 30_000
