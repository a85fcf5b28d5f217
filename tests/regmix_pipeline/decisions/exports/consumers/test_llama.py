# ruff: noqa: TID253
"""An exported proxy loaded by transformers: the same logits, and a tokenizer that makes the same tokens."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from regmix_pipeline.proxies.evaluate import load_proxy
from regmix_pipeline.tokens.stage import current_manifest, current_shard, current_tokenizer
from regmix_pipeline.tokens.tokenizer import load_for_text

pytestmark = pytest.mark.consumers


@pytest.fixture
def exported(workspace, tmp_path):
    """What the real command wrote of the natural mixture's proxy, and what it answered."""
    places = ["--study", str(workspace.study_file), "--home", str(workspace.home)]
    command = [sys.executable, "-m", "regmix_pipeline", "export-proxy", "natural", "--out", str(tmp_path / "llama")]
    done = subprocess.run([*command, *places, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tmp_path / "llama", json.loads(done.stdout)


def test_logits_are_the_proxys_own(exported, workspace):
    from transformers import AutoModelForCausalLM

    folder, said = exported
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert type(theirs).__name__ == "LlamaForCausalLM"
    ours = load_proxy(workspace.path("proxies", said["proxy"]), torch.device("cpu"))
    shard = current_shard(workspace, "code") / "train.ds"
    context = ours.settings.context
    tokens = np.fromfile(shard, "<u2")[: 8 * context].astype(np.int64).reshape(8, context)
    with torch.no_grad():
        expected = (ours(torch.from_numpy(tokens)) @ ours.head.t()).view(8, context, -1)
        found = theirs(torch.from_numpy(tokens)).logits
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 1e-5
    assert float(expected.std()) > 0.1


def test_the_tokenizer_makes_the_tokens_that_the_proxy_was_trained_on(exported, workspace):
    from transformers import AutoTokenizer

    folder, _ = exported
    theirs, ours = AutoTokenizer.from_pretrained(folder), current_tokenizer(workspace)
    text = "def f(x):\n    return x  # déjà vu <|endoftext|> ✓"
    plain = load_for_text(ours.path).encode("def f(x):\n    return x  # déjà vu", add_special_tokens=False).ids
    assert theirs("def f(x):\n    return x  # déjà vu", add_special_tokens=False).input_ids == plain
    assert theirs.eos_token_id == ours.eos_id
    assert theirs.decode(theirs(text, add_special_tokens=False).input_ids) == text
    assert theirs.model_max_length == 32
    manifest = current_manifest(workspace, "code")
    tokens = np.fromfile(current_shard(workspace, "code") / manifest.splits["train"].file, "<u2")[:200]
    assert theirs.decode(tokens.tolist())
