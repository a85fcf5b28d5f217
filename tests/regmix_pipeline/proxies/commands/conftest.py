"""Proxies that a small Python script trains, by real processes."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regmix_pipeline.files import sha256_of
from regmix_pipeline.proxies.commands.executor import CommandExecutor
from regmix_pipeline.proxies.commands.trainer import Trainer
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.study.settings.trainer import TrainerSettings
from regmix_pipeline.study.settings.workers import EngineSettings

BIGRAM = Path(__file__).parents[4] / "studies" / "command" / "bigram.py"


@pytest.fixture
def command_spec(spec_of, tmp_path) -> Callable[..., ProxySpec]:
    """Make a spec whose command is a script: ``command_spec("print(1)", tolerance=0.1, seed=4)``; Python by default
    the example of the studies. The script is given the mixture file and the folder."""

    def make(script: str | None = None, seed: int = 3, **settings: object) -> ProxySpec:
        path = tmp_path / f"train_{len(list(tmp_path.glob('train_*.py')))}.py"
        path.write_text(BIGRAM.read_text() if script is None else script)
        command = f"{sys.executable} {path} {{mixture_file}} {{out}}"
        made = TrainerSettings.model_validate({"command": command, "files": [path.name], "retries": 0} | settings)
        contents = {path.name: sha256_of(path)}
        trainer = Trainer(settings=made, contents=contents, base=tmp_path, study="test", objective={"code": 1.0})
        return spec_of(trainer=trainer, seed=seed)

    return make


@pytest.fixture
def executor(tmp_path):
    """Two commands at once on this machine; what it says is in ``executor.said``."""
    said: list[str] = []

    def no_others():
        raise AssertionError("nothing else is trained here")

    made = CommandExecutor(EngineSettings(), 2, no_others, said.append)
    made.said = said
    return made


REPORT = """
import json, os, sys
from pathlib import Path
asked, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
report = {"losses": dict.fromkeys(asked["targets"], 2.5), "step": 7}
report["tokens"] = {domain: data["tokens"] for domain, data in asked["domains"].items()}
CHANGE
(out / "losses.json").write_text(report if isinstance(report, str) else json.dumps(report))
"""


@pytest.fixture
def reporting(command_spec):
    """Make a spec whose command reports what it was asked for, after a change: ``reporting("report['step'] = 1")``."""

    def make(change: str = "", **settings: object) -> ProxySpec:
        return command_spec(REPORT.replace("CHANGE", change), **settings)

    return make
