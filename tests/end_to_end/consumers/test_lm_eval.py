"""An exported proxy measured by lm-evaluation-harness: its numbers are ours, and its log of samples is a task."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import yaml

from regmix_pipeline.documents.readers import reader
from regmix_pipeline.study.settings.documents import Source

pytestmark = pytest.mark.consumers
TASK = {
    "task": "facts",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{prompt}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "gold",
    # Both continue the prompt as they are.
    "target_delimiter": "",
    "metric_list": [{"metric": "acc_norm"}],
}


def items_of(text):
    """Short prompts, which neither side cuts; choices begin with a space, so that no token spans both."""
    lines = [json.loads(line)["text"].split() for line in (text / "science.jsonl").read_text().splitlines()]
    words = [line[:5] for line in lines if len(line) > 5 and all(word.isascii() for word in line[:5])][:12]
    return [
        {"prompt": " ".join(line[:3]), "choices": [" " + " ".join(other[3:]), " " + " ".join(line[3:])], "gold": 1}
        for line, other in zip(words, words[1:] + words[:1], strict=True)
    ]


@pytest.fixture(scope="module")
def study(real_text, tiny_settings, tmp_path_factory, study_in):
    """A study with a task, until its losses are measured."""
    folder = tmp_path_factory.mktemp("lm_eval")
    shutil.copytree(real_text, folder / "text")
    lines = "".join(json.dumps(item) + "\n" for item in items_of(folder / "text"))
    (folder / "text" / "facts.jsonl").write_text(lines)
    settings = {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "targets": {"facts": {"source": {"task": "text/facts.jsonl"}}},
        "mixtures": {"count": 8, "minimum": 0.05, "anchors": {"natural": True}},
        "regression": {"regressors": ["linear"], "bootstrap": 50},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    made = study_in(folder)
    made.does("run", "--workers", "1")
    return made


@pytest.fixture(scope="module")
def logged(study):
    """The samples that lm-evaluation-harness logged of the natural mixture's proxy, and its results."""
    folder = study.folder
    study.does("export-proxy", "natural", "--out", str(folder / "llama"))
    (folder / "tasks").mkdir()
    task = TASK | {"dataset_kwargs": {"data_files": {"test": str(folder / "text" / "facts.jsonl")}}}
    (folder / "tasks" / "facts.yaml").write_text(yaml.safe_dump(task))
    # The end-of-text token stands before every prompt, as in training.
    model = f"pretrained={folder / 'llama'},dtype=float32,add_bos_token=True"
    command = [Path(sys.executable).with_name("lm_eval"), "--model", "hf", "--model_args", model, "--tasks", "facts"]
    places = ["--include_path", folder / "tasks", "--output_path", folder / "out", "--log_samples", "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    done = subprocess.run([*command, *places], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (samples,) = folder.glob("out/**/samples_facts_*.jsonl")
    (results,) = folder.glob("out/**/results_*.json")
    return samples, json.loads(results.read_text())["results"]["facts"]


def test_its_numbers_are_the_ledgers(study, logged):
    samples, results = logged
    bits = []
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        continuation = sample["doc"]["choices"][sample["doc"]["gold"]]
        likelihood = float(sample["filtered_resps"][sample["doc"]["gold"]][0])
        bits.append(-likelihood / math.log(2) / len(continuation.encode()))
    assert len(bits) == 12
    with duckdb.connect(str(study.home / "ledger.duckdb"), read_only=True) as ledger:
        ((expected, accuracy),) = ledger.execute(
            "select bits_per_byte, accuracy from current_proxy_losses where target = 'facts' and final and mixture in"
            " (select mixture from current_mixtures where origin = 'natural')"
        ).fetchall()
    assert sum(bits) / len(bits) == pytest.approx(expected, abs=1e-4)
    assert results["acc_norm,none"] == pytest.approx(accuracy)


def test_its_log_of_samples_is_read_as_the_same_items(study, logged):
    samples, _ = logged
    shutil.copy(samples, study.folder / "samples.jsonl")

    def items(name):
        documents = reader(Source(task=name), study.folder, study.folder, lambda line: None)()
        return [(document.metadata["requests"], document.metadata["gold"]) for document in documents]

    assert items("samples.jsonl") == items("text/facts.jsonl")
