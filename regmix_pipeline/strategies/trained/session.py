# ruff: noqa: TID253  (imported only where a session is started, and by tests)
"""A run under way whose mixture may change from step to step, on the trainer of the proxies.

A session whose weights never change trains to the same bits as the constant run of its mixture and seed, on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.device import device_of
from regmix_pipeline.proxies.evaluate import AnySample, Sample, losses_on
from regmix_pipeline.proxies.loss import linear_cross_entropy
from regmix_pipeline.proxies.measured import Loss
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.strategies.arena import Account, Array, Size
from regmix_pipeline.strategies.session_checks import check_steps, checked_factors, checked_weights
from regmix_pipeline.strategies.trained.windows import SteeredWindows

_CHECK_EVERY = 16


class SteeredTrainingLoop(TrainingLoop):
    """A `TrainingLoop` whose windows are given as it goes, with a factor for each domain's loss and each domain's mean
    loss.

    Attributes:
        factors: of the domains' losses, in the order of ``windows.domains``; None for 1 each, which costs nothing.
        sums: of the domains' losses over windows since they were last set to zero, nats per token, (d,).
    """

    windows: SteeredWindows

    def __init__(self, spec: ProxySpec, device: torch.device, windows: SteeredWindows) -> None:
        super().__init__(spec, device, windows)
        self.factors: Tensor | None = None
        self.sums = torch.zeros(len(windows.domains), dtype=torch.float64, device=device)

    def _loss(self, hidden: Tensor, labels: Tensor, scale: float, first: int) -> Tensor:
        context, head = self.spec.model.context, self.model.head
        number = len(labels) // context
        start = self.taken * self.spec.training.windows_per_step + first
        domains = torch.from_numpy(self.windows.of_windows(start, number)).to(self.device)
        each = torch.empty(len(labels), dtype=torch.float32, device=self.device)
        factor: float | Tensor = scale
        if self.factors is not None:
            factor = (self.factors[domains] * scale).repeat_interleave(context)
        loss = linear_cross_entropy(hidden, head, labels, scale=factor, gradient=head.grad, each=each)
        self.sums.index_add_(0, domains, each.view(number, context).double().mean(1))
        return loss


class TrainedSession:
    """A `Session` that trains. Made by `TrainedArena.start`.

    Args:
        spec: the run; its shards are all domains, its mixture says nothing.
        domains: in the arena's order, (d,).
        size: the run's size.
        samples: of the domains' training text, in the arena's order.
        targets: of the targets.
        account: where steps and passes are entered.
        forward_flops: of a forward pass, per token.

    Raises:
        TokenError: a shard is missing, altered or too small.
    """

    def __init__(
        self,
        spec: ProxySpec,
        domains: tuple[str, ...],
        size: Size,
        samples: list[Sample],
        targets: Sequence[AnySample],
        account: Account,
        forward_flops: float,
    ) -> None:
        self.size, self.taken = size, 0
        self._domains, self._account = domains, account
        self._samples, self._targets, self._forward_flops = samples, targets, forward_flops
        windows = SteeredWindows(spec.shards, spec.model.context, spec.seed, spec.available_windows)
        self._trainer = SteeredTrainingLoop(spec, device_of(spec.device), windows)
        self._places = [windows.domains.index(domain) for domain in domains]
        account.add(0, 0.0, runs=1)

    def advance(self, weights: Array, steps: int, loss_weights: Array | None = None) -> Array:
        """See `Session.advance`. Weights are rounded to parts per million, factors are used as they are.

        Raises:
            ProxyError: weights, factors or steps are not what they should be, or a loss is not finite.
        """
        trainer, size = self._trainer, self.size
        check_steps(steps, self.taken, size)
        weights = checked_weights(weights, len(self._domains))
        factors = None if loss_weights is None else checked_factors(loss_weights, len(self._domains))
        trainer.factors = None
        if factors is not None:
            trainer.factors = torch.zeros(len(factors), device=trainer.device)
            for place, factor in zip(self._places, factors.tolist(), strict=True):
                trainer.factors[place] = factor
        mixture = Mixture.at(self._domains, weights)
        before = list(trainer.windows.counts)
        trainer.windows.steer(dict(mixture.parts), steps * trainer.spec.training.windows_per_step)
        trainer.sums.zero_()
        for number in range(1, steps + 1):
            trainer.step()
            if number % _CHECK_EVERY == 0 or number == steps:
                trainer.check()
        self.taken = trainer.taken
        tokens = steps * size.tokens // size.steps
        self._account.add(tokens, size.flops_per_token * tokens)
        fresh = [now - then for now, then in zip(trainer.windows.counts, before, strict=True)]
        means = trainer.sums.cpu() / torch.tensor(fresh, dtype=torch.float64)  # 0 / 0 is NaN, as it should be
        return means[self._places].numpy()

    def domain_losses(self) -> Array:
        """See `Session.domain_losses`."""
        found = self._measured(self._samples)
        return torch.tensor([found[domain].loss for domain in self._domains], dtype=torch.float64).numpy()

    def losses(self) -> dict[str, float]:
        """See `Session.losses`; counts as forward passes."""
        return {target: loss.loss for target, loss in self._measured(self._targets).items()}

    def final(self) -> dict[str, Loss]:
        """Loss on every target with its standard error, for nobody's account.

        Raises:
            ProxyError: the run is not at its end.
        """
        if self.taken < self.size.steps:
            raise ProxyError(
                f"the run ended after {self.taken} of {self.size.steps} steps",
                where=self.size.name,
                remedy="advance the session to its end",
            )
        return {sample.name: losses_on(self._trainer.model, [sample])[sample.name] for sample in self._targets}

    def drawn(self) -> Array:
        """See `Session.drawn`; zeros before the first step."""
        counts = torch.tensor(self._trainer.windows.counts, dtype=torch.float64)[self._places]
        return (counts / max(1, self._trainer.windows.total)).numpy()

    def _measured(self, samples: Sequence[AnySample]) -> dict[str, Loss]:
        """Losses one sample at a time, as a finished run is measured: other passes would end in other last bits."""
        found = {sample.name: losses_on(self._trainer.model, [sample])[sample.name] for sample in samples}
        self._account.add(0, self._forward_flops * sum(loss.evaluated_tokens for loss in found.values()))
        return found
