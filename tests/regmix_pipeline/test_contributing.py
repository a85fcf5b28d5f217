"""CONTRIBUTING.md's examples, applied to a copy of the package as they are written, and run by the real command."""

import _pydecimal
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n# ([\w/]+\.py)(?:: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PARTS = (
    *("a regressor", "a reader of documents", "a format of token files", "an export format", "a strategy"),
    *("a target kind", "an asset"),
)

SOURCES = {"dates": datetime, "decimals": _pydecimal}


def sections():
    """Heading -> its blocks: path, name of the registry or "", text."""
    parts = re.split(r"^### (.+)$", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    return {name.lower(): BLOCK.findall(text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def apply(folder, path, place, text):
    """Write a new file, or add lines: first in a registry, or ``after`` a line."""
    file = folder / path
    if not place:
        assert not file.exists()
        file.write_text(text)
        return
    content = file.read_text()
    line = (
        rf"^ *{re.escape(place.removeprefix('after '))}\n" if place.startswith("after ") else rf"^{place} = [^{{]*{{\n"
    )
    end = re.search(line, content, re.MULTILINE).end()
    file.write_text(content[:end] + text + content[end:])


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with every example in it."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "regmix_pipeline", folder / "regmix_pipeline")
    for blocks in sections().values():
        for block in blocks:
            apply(folder, *block)
    return folder


def run(extended, folder, *words):
    """Run Python on the copy; returns what it printed."""
    told = subprocess.run(
        [sys.executable, "-P", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(extended)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_every_part_has_an_example_of_at_most_three_files():
    found = sections()
    assert tuple(found) == PARTS
    assert all(1 <= len({path for path, *_ in blocks}) <= 3 for blocks in found.values())


def test_a_study_runs_with_a_part_of_each_kind(extended, tiny_settings, tmp_path):
    (tmp_path / "text").mkdir()
    for name, module in SOURCES.items():
        lines = (line for line in Path(module.__file__).read_text().splitlines() if line.strip())
        (tmp_path / "text" / f"{name}.lines").write_text("\n".join(dict.fromkeys(lines)))
    model = tiny_settings["proxies"]["model"]
    training = {"tokens": 2048, "windows_per_step": 16, "warmup_steps": 1}
    study = {name: tiny_settings[name] for name in ("name", "seed", "shards")} | {
        "domains": {name: {"source": {"lines": f"text/{name}.lines"}} for name in SOURCES},
        "targets": {"dates": {"kind": "late"}, "decimals": {"weight": 0}},
        "tokenizer": {"train": {"vocab_size": 512}},
        "mixtures": {"count": 8, "minimum": 0.05},
        "proxies": {"preset": "demo", "model": model, "training": training, "evaluation": {"windows": 8}}
        # To start another worker costs more than it trains.
        | {"workers": 1},
        "regression": {"regressors": ["constant", "linear"], "bootstrap": 50, "step_laws": False},
        "search": {"method": "optimiser"},
        "strategies": {
            "names": ["middle"],
            "budget_proxies": 1,
            "seeds": 1,
            "target": {"preset": "demo", "model": model, "training": training},
        },
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(study))
    run(extended, tmp_path, "-m", "regmix_pipeline", "run", "--study", "tiny.yaml", "--home", "home")
    query = (
        "select (select count(*) from current_regressor_scores where regressor = 'constant'), "
        "(select count(*) from current_strategy_choices where strategy = 'middle'), "
        "(select count(distinct target_version) from current_proxy_losses)"
    )
    printed = run(
        extended,
        tmp_path,
        "-c",
        "import json; from regmix_pipeline.engine.workspace import Workspace; from regmix_pipeline.engine.ledger "
        "import read_ledger\n"
        "from regmix_pipeline.exports.decided import export_decision\n"
        "workspace = Workspace('tiny.yaml', 'home')\n"
        f"with read_ledger(workspace.ledger) as c: print(json.dumps(c.sql({query!r}).fetchall()[0]))\n"
        "print(workspace.json('sparsity'))\n"
        "print(export_decision(workspace, None, 'table', unapproved=True).files[0].read_text())\n",
    )
    scores, choices, versions = json.loads(printed.splitlines()[0])
    assert (scores > 0, choices, versions) == (True, 1, 2)
    assert printed.splitlines()[1] in ("{'domains': 1}", "{'domains': 2}")
    assert "domain,weight\n" in printed


TOKENS = """
import numpy as np
from pathlib import Path
from tokenizers import Tokenizer, decoders, models
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ShardSettings
from regmix_pipeline.tokens.shards import make_shard
from regmix_pipeline.tokens.tokenizer import checked

here = Path()
tokenizer = Tokenizer(models.BPE(vocab={"<|endoftext|>": 0, "a": 1, "b": 2, "c": 3}, merges=[]))
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens(["<|endoftext|>"])
tokenizer.save("tokenizer.json")
head = np.zeros(256, "<i4")
head[:3] = 20240520, 1, 9
Path("tokens.bin").write_bytes(head.tobytes() + np.array([0, 1, 2, 0, 3, 3, 0, 1, 2], "<u2").tobytes())
source = Source.model_validate({"tokens": {"path": "tokens.bin", "tokenizer": "abc"}})
made = make_shard(
    "abc", source, here, here / "data", checked(Path("tokenizer.json"), "<|endoftext|>"), here / "shards",
    ShardSettings(min_tokens=1), "target", say=lambda line: None,
)
print(made.splits["validation"].documents, made.splits["validation"].bytes, made.duplicates)
"""


def test_tokens_of_the_new_format_are_read_in_place(extended, tmp_path):
    # The last document is that of the beginning without its end: the same text.
    assert run(extended, tmp_path, "-c", TOKENS).split() == ["2", "4", "1"]
