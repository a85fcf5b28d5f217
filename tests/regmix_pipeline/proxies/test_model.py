# ruff: noqa: TID253
"""The decoder against one written naively, loop by loop, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from regmix_pipeline.proxies.loss import linear_cross_entropy
from regmix_pipeline.proxies.model import Decoder, RMSNorm, initialise, swiglu
from regmix_pipeline.study.settings.proxies import ModelSettings

SETTINGS = ModelSettings(context=12, layers=2, width=16, heads=2, ffn_width=20)
VOCABULARY = 31


def naive_norm(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / (x.pow(2).mean(-1, keepdim=True) + SETTINGS.norm_eps).sqrt()


def naive_rotation(vector: Tensor, position: int) -> Tensor:
    turned = vector.clone()
    for pair in range(len(vector) // 2):
        angle = position / SETTINGS.rope_theta ** (2 * pair / len(vector))
        a, b = vector[2 * pair], vector[2 * pair + 1]
        turned[2 * pair] = a * math.cos(angle) - b * math.sin(angle)
        turned[2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
    return turned


def naive_logits(weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Logits of one window, (T, V), straight from the definitions."""
    heads, size = SETTINGS.heads, SETTINGS.width // SETTINGS.heads
    x = weights["embedding.weight"][tokens]
    for layer in range(SETTINGS.layers):
        own = {name.split(".", 2)[2]: w for name, w in weights.items() if name.startswith(f"blocks.{layer}.")}
        query, key, value = (naive_norm(x, own["attention_norm.weight"]) @ own["query_key_value.weight"].T).chunk(3, -1)
        mixed = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for now in range(len(tokens)):
                scores = torch.stack(
                    [
                        naive_rotation(query[now, part], now) @ naive_rotation(key[then, part], then) / math.sqrt(size)
                        for then in range(now + 1)
                    ]
                )
                mixed[now, part] = scores.softmax(0) @ value[: now + 1, part]
        x = x + mixed @ own["attention_out.weight"].T
        gate, up = (naive_norm(x, own["ffn_norm.weight"]) @ own["gate_up.weight"].T).chunk(2, -1)
        x = x + (gate * torch.sigmoid(gate) * up) @ own["down.weight"].T
    return naive_norm(x, weights["norm.weight"]) @ weights["head"].T


@pytest.fixture
def model() -> Decoder:
    model = Decoder(SETTINGS, VOCABULARY)
    initialise(model, 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(torch.linspace(0.5, 1.5, SETTINGS.width))
            else:
                parameter.mul_(3)
    return model


def test_loss_and_gradients_equal_the_naive_decoders(model: Decoder) -> None:
    tokens = torch.randint(0, VOCABULARY, (3, 13), generator=torch.Generator().manual_seed(2))
    loss = linear_cross_entropy(model(tokens[:, :-1]), model.head, tokens[:, 1:].reshape(-1))
    ours = torch.autograd.grad(loss, list(model.parameters()))
    weights = {name: p.detach().double().requires_grad_() for name, p in model.named_parameters()}
    plain = torch.stack([functional.cross_entropy(naive_logits(weights, row[:-1]), row[1:]) for row in tokens]).mean()
    theirs = torch.autograd.grad(plain, list(weights.values()))
    torch.testing.assert_close(loss.double(), plain, rtol=1e-5, atol=1e-5)
    for name, a, b in zip(weights, ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_later_tokens_do_not_change_earlier_states(model: Decoder) -> None:
    tokens = torch.arange(12).unsqueeze(0)
    changed = tokens.clone()
    changed[0, 8:] += 5
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:8], after[:8])
    assert (before[8:] - after[8:]).abs().max() > 0.1


def test_norm_equals_pytorchs() -> None:
    norm = RMSNorm(24, 1e-5).double()
    x = torch.randn(7, 24, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
    plain = functional.rms_norm(x, (24,), norm.weight, 1e-5)
    torch.testing.assert_close(norm(x), plain)
    seed = torch.randn_like(plain)
    ours = torch.autograd.grad(norm(x), (x, norm.weight), seed)
    torch.testing.assert_close(ours, torch.autograd.grad(plain, (x, norm.weight), seed))


def test_swiglu_equals_its_definition() -> None:
    x = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    plain = x[:, :6] * torch.sigmoid(x[:, :6]) * x[:, 6:]
    torch.testing.assert_close(swiglu(x), plain)
    seed = torch.randn_like(plain)
    torch.testing.assert_close(torch.autograd.grad(swiglu(x), x, seed), torch.autograd.grad(plain, x, seed))


def test_initial_weights_are_the_papers_and_depend_on_the_seed_alone() -> None:
    settings = ModelSettings(context=8, layers=4, width=64, heads=2, ffn_width=128)
    models = [Decoder(settings, 1000) for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        torch.randn(3)  # global state must not matter
        initialise(model, seed)
    deviations = {name: float(weight.std()) for name, weight in models[0].state_dict().items()}
    assert deviations["embedding.weight"] == pytest.approx(math.sqrt(2 / 5 / 64), rel=0.02)
    assert deviations["head"] == pytest.approx(math.sqrt(2 / 5 / 64), rel=0.02)
    assert deviations["blocks.2.gate_up.weight"] == pytest.approx(math.sqrt(2 / 5 / 64), rel=0.05)
    assert deviations["blocks.2.down.weight"] == pytest.approx(1 / math.sqrt(128) / 4, rel=0.05)
    same, other = models[1].state_dict(), models[2].state_dict()
    assert all(torch.equal(weight, same[name]) for name, weight in models[0].state_dict().items())
    assert not torch.equal(models[0].head, other["head"])
