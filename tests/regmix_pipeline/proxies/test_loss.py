# ruff: noqa: TID253
"""The fused loss equals PyTorch's own cross-entropy, value and gradients, at any size of chunks and scale of logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from regmix_pipeline.proxies import loss
from regmix_pipeline.proxies.loss import chunk_rows, linear_cross_entropy, token_losses


def problem(dtype: torch.dtype, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(70, 12, generator=generator, dtype=dtype) * spread
    head = torch.randn(97, 12, generator=generator, dtype=dtype)
    return hidden.requires_grad_(), head.requires_grad_(), torch.randint(0, 97, (70,), generator=generator)


@pytest.fixture(params=["tiles", "whole"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of the vocabulary as on a CPU, or whole logits as on CUDA."""
    if request.param == "whole":
        monkeypatch.setattr(loss, "_in_tiles", lambda hidden: False)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (16, 10), (70, 97), (1000, 1000)])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("spread", [1.0, 60.0, 1e-6])  # 60: exponentials overflow float32 without their maximum
def test_value_and_gradients_equal_plain_cross_entropy(
    rows: int, columns: int, dtype: torch.dtype, near: float, spread: float
) -> None:
    hidden, head, targets = problem(dtype, spread)
    fused = linear_cross_entropy(hidden, head, targets, rows=rows, columns=columns)
    plain = functional.cross_entropy(hidden @ head.T, targets)
    torch.testing.assert_close(fused, plain, rtol=near, atol=near)
    for ours, theirs in zip(
        torch.autograd.grad(fused, (hidden, head)), torch.autograd.grad(plain, (hidden, head)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=near, atol=near)


@pytest.mark.usefixtures("way")
def test_logits_far_below_zero_do_not_vanish() -> None:
    hidden, head, targets = torch.ones(3, 1), torch.full((5, 1), -200.0), torch.tensor([0, 1, 2])
    torch.testing.assert_close(token_losses(hidden, head, targets), torch.full((3,), 5.0).log())


@pytest.mark.usefixtures("way")
def test_gradients_agree_with_finite_differences() -> None:
    hidden, head, targets = problem(torch.float64)
    assert torch.autograd.gradcheck(
        lambda x, w: linear_cross_entropy(x, w, targets[:5], rows=2, columns=9), (hidden[:5], head)
    )


@pytest.mark.usefixtures("way")
def test_the_heads_gradient_is_added_in_place() -> None:
    hidden, head, targets = problem(torch.float64)
    before = torch.randn_like(head)
    gradient = before.clone()
    linear_cross_entropy(hidden, head, targets, scale=0.5, gradient=gradient, rows=16).backward()
    expected = torch.autograd.grad(0.5 * functional.cross_entropy(hidden @ head.T, targets, reduction="sum"), head)[0]
    torch.testing.assert_close(gradient - before, expected)
    assert head.grad is None


def test_the_loss_may_be_part_of_a_larger_expression() -> None:
    hidden, head, targets = problem(torch.float64)
    ours = torch.autograd.grad(linear_cross_entropy(hidden, head, targets).square(), (hidden, head))
    theirs = torch.autograd.grad(functional.cross_entropy(hidden @ head.T, targets).square(), (hidden, head))
    torch.testing.assert_close(ours, theirs)


def test_bfloat16_is_close() -> None:
    hidden, head, targets = problem(torch.float32)
    narrow = hidden.detach().bfloat16().requires_grad_()
    fused = linear_cross_entropy(narrow, head, targets)
    plain = functional.cross_entropy(hidden @ head.T, targets)
    assert fused.dtype == torch.float32
    torch.testing.assert_close(fused, plain, rtol=0.02, atol=0.02)
    expected = torch.autograd.grad(plain, head)[0]
    ours = torch.autograd.grad(fused, head)[0]
    assert (ours - expected).norm() < 0.03 * expected.norm()


def test_autocast_narrows_the_products_and_keeps_float32_gradients() -> None:
    hidden, head, targets = problem(torch.float32)
    gradient = torch.zeros_like(head)
    with torch.autocast("cpu", torch.bfloat16):
        fused = linear_cross_entropy(hidden, head, targets, gradient=gradient)
        measured = token_losses(hidden, head, targets)
    fused.backward()
    plain = functional.cross_entropy(hidden @ head.T, targets)
    expected = torch.autograd.grad(plain, (hidden, head))
    assert measured.dtype == gradient.dtype == torch.float32
    torch.testing.assert_close(measured.mean(), fused.detach())
    assert hidden.grad is not None
    for ours, theirs in zip((hidden.grad, gradient), expected, strict=True):
        assert 0 < (ours - theirs).norm() < 0.03 * theirs.norm()


@pytest.mark.usefixtures("way")
def test_token_losses_equal_plain_cross_entropy() -> None:
    hidden, head, targets = problem(torch.float32, 5.0)
    expected = functional.cross_entropy(hidden @ head.T, targets, reduction="none")
    torch.testing.assert_close(
        token_losses(hidden, head, targets, rows=9, columns=20), expected.detach(), rtol=1e-5, atol=1e-5
    )


def test_one_huge_row_does_not_disturb_the_others() -> None:
    hidden, head, targets = problem(torch.float32)
    with torch.no_grad():
        hidden[3] *= 1e3
    fused = linear_cross_entropy(hidden, head, targets, rows=16, columns=10)
    plain = functional.cross_entropy(hidden.double() @ head.double().T, targets)
    torch.testing.assert_close(fused.double(), plain, rtol=1e-6, atol=1e-6)
    ours, theirs = (torch.autograd.grad(value, (hidden, head)) for value in (fused, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_chunks_of_whole_logits_are_bounded() -> None:
    assert chunk_rows(50_432) * 50_432 * 4 <= 2**30
    assert chunk_rows(10) <= 65_536
    assert chunk_rows(10**9) >= 256
