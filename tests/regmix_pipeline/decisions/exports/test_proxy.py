# ruff: noqa: TID253
"""A proxy as a Llama checkpoint: computed as Llama computes it, it gives the proxy's own logits."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from regmix_pipeline.errors import MixtureError, ProxyError, StudyError
from regmix_pipeline.exports.llama import llama_config, llama_weights
from regmix_pipeline.exports.proxy import export_proxy
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.proxies.model import Decoder, initialise
from regmix_pipeline.study.settings.proxies import ModelSettings


def llama(weights, config, tokens):
    """Logits by Llama's own formulas (Touvron et al., arXiv 2302.13971), rotary positions in halves."""

    def norm(x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]) * weights[f"{name}.weight"]

    def rotated(x):
        half = x.shape[-1] // 2
        return torch.cat((-x[..., half:], x[..., :half]), -1)

    batch, length = tokens.shape
    heads, h = config["num_attention_heads"], config["head_dim"]
    frequencies = config["rope_theta"] ** (-torch.arange(0, h, 2).double() / h)
    angles = torch.outer(torch.arange(length).double(), frequencies).repeat(1, 2)
    cosine, sine = angles.cos().float(), angles.sin().float()
    x = weights["model.embed_tokens.weight"][tokens]
    for number in range(config["num_hidden_layers"]):
        own = f"model.layers.{number}"
        y = norm(x, f"{own}.input_layernorm")
        parts = [y @ weights[f"{own}.self_attn.{each}_proj.weight"].t() for each in "qkv"]
        query, key, value = (part.view(batch, length, heads, h).transpose(1, 2) for part in parts)
        query, key = (each * cosine + rotated(each) * sine for each in (query, key))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + mixed.transpose(1, 2).reshape(batch, length, -1) @ weights[f"{own}.self_attn.o_proj.weight"].t()
        y = norm(x, f"{own}.post_attention_layernorm")
        gate, up = (y @ weights[f"{own}.mlp.{each}_proj.weight"].t() for each in ("gate", "up"))
        x = x + (functional.silu(gate) * up) @ weights[f"{own}.mlp.down_proj.weight"].t()
    return norm(x, "model.norm") @ weights["lm_head.weight"].t()


@pytest.mark.parametrize("shape", [{"layers": 2, "heads": 2}, {"layers": 1, "heads": 4, "norm_eps": 1e-3}])
def test_the_weights_give_the_proxys_logits(shape):
    settings = ModelSettings(context=24, width=32, ffn_width=40, rope_theta=500.0, **shape)
    model = Decoder(settings, 50)
    initialise(model, 1)
    tokens = torch.randint(0, 50, (3, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for block in model.blocks:
            block.attention_norm.weight.uniform_(0.5, 1.5)
        expected = (model(tokens) @ model.head.t()).view(3, 24, 50)
        found = llama(llama_weights(model.state_dict(), settings), llama_config(settings, 50, 0), tokens)
    assert float((found - expected).abs().max()) < 1e-5


@pytest.fixture
def command(workspace):
    """The real command about the workspace's study."""
    places = ["--study", str(workspace.study_file), "--home", str(workspace.home)]

    def run(*words, status=0):
        done = subprocess.run(
            [sys.executable, "-m", "regmix_pipeline", "export-proxy", *words, *places], capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


def test_the_command_writes_a_whole_checkpoint_and_says_what_it_is(command, tmp_path):
    said = json.loads(command("natural", "--out", str(tmp_path / "llama"), "--json").split("study tiny")[0])
    about = json.loads((tmp_path / "llama" / "regmix.json").read_text())
    assert about["proxy"] == said["proxy"]
    assert about["mixture"]["weights"] == said["weights"]
    assert sum(about["mixture"]["weights"].values()) == pytest.approx(1)
    assert sorted(path.name for path in (tmp_path / "llama").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "regmix.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    config = json.loads((tmp_path / "llama" / "config.json").read_text())
    weights = load_file(tmp_path / "llama" / "model.safetensors")
    assert weights["lm_head.weight"].shape == (config["vocab_size"], config["hidden_size"])
    # A second time would mix two proxies' files.
    again = command("natural", "--out", str(tmp_path / "llama"), status=1)
    assert "is there already" in again
    assert "remedy: give --out a folder that is new or empty" in again


def test_a_mixture_is_named_by_its_id_a_proxys_or_their_start(workspace, tmp_path):
    key = next(iter(current_mixtures(workspace)))
    proxies = workspace.records.current("proxy_checkpoints", key).facts["proxies"]
    by_mixture = export_proxy(workspace, key[:9], tmp_path / "a")
    by_proxy = export_proxy(workspace, proxies[0], tmp_path / "b")
    assert by_mixture.proxy == by_proxy.proxy == proxies[0]
    for asked, problem in (("m", "mixtures and proxies begin so"), ("poems", "no trained mixture or proxy begins so")):
        with pytest.raises(MixtureError, match=problem):
            export_proxy(workspace, asked, tmp_path / "c")
    with pytest.raises(MixtureError, match="there is no seed 7"):
        export_proxy(workspace, key, tmp_path / "c", 7)
    with pytest.raises(MixtureError, match="no proxy was trained on the uniform mixture"):
        export_proxy(workspace, "uniform", tmp_path / "c")
    with pytest.raises(MixtureError, match="no larger model was trained"):
        export_proxy(workspace, "chosen", tmp_path / "c", larger=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StudyError, match="is there already"):
        export_proxy(workspace, key, tmp_path / "file")
    assert not (tmp_path / "c").exists()


def test_a_damaged_proxy_is_not_exported(workspace, tmp_path):
    key = next(iter(current_mixtures(workspace)))
    proxy = workspace.records.current("proxy_checkpoints", key).facts["proxies"][0]
    weights = workspace.path("proxies", proxy, "model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ProxyError, match="altered"):
        export_proxy(workspace, key, tmp_path / "out")
    assert not (tmp_path / "out").exists()
