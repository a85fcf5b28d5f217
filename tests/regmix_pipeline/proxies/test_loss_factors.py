# ruff: noqa: TID253
"""The fused loss with a factor for each row equals plain autograd, and returns each row's own loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from regmix_pipeline.proxies import loss
from regmix_pipeline.proxies.loss import linear_cross_entropy


@pytest.mark.parametrize("whole", [False, True])  # tiles as on a CPU, whole logits as on CUDA
@pytest.mark.parametrize("spread", [1.0, 60.0])  # 60: exponentials overflow float32 without their maximum
def test_a_factor_a_row_is_what_autograd_makes_of_it(
    whole: bool, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if whole:
        monkeypatch.setattr(loss, "_in_tiles", lambda hidden: False)
    generator = torch.Generator().manual_seed(0)
    hidden = (torch.randn(70, 12, generator=generator, dtype=torch.float64) * spread).requires_grad_()
    head = torch.randn(97, 12, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(0, 97, (70,), generator=generator)
    factors = torch.rand(70, generator=generator, dtype=torch.float64) * 3
    factors[:9] = 0
    plain_each = functional.cross_entropy(hidden @ head.T, targets, reduction="none")
    plain = (plain_each * factors).sum()
    each, in_place = torch.empty(70, dtype=torch.float64), torch.zeros_like(head)
    fused = linear_cross_entropy(hidden, head, targets, scale=factors, rows=16, columns=10, each=each)
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(each, plain_each.detach())
    expected = torch.autograd.grad(plain, (hidden, head))
    for ours, theirs in zip(torch.autograd.grad(fused, (hidden, head)), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    again = linear_cross_entropy(hidden, head, targets, scale=factors, rows=16, columns=10, gradient=in_place)
    torch.testing.assert_close(torch.autograd.grad(again, hidden)[0], expected[0])
    torch.testing.assert_close(in_place, expected[1])


def test_equal_factors_are_the_plain_scale() -> None:
    hidden = torch.randn(33, 8, generator=torch.Generator().manual_seed(1))
    head, targets = torch.randn(50, 8, generator=torch.Generator().manual_seed(2)), torch.arange(33)
    both = [torch.zeros_like(head), torch.zeros_like(head)]
    linear_cross_entropy(hidden, head, targets, scale=0.25, gradient=both[0])
    linear_cross_entropy(hidden, head, targets, scale=torch.full((33,), 0.25), gradient=both[1])
    torch.testing.assert_close(both[0], both[1])
