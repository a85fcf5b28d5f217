# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""A model in training that no device could hold: every process has its part of parameters, gradients and averages.

PyTorch's FSDP2 (`torch.distributed.fsdp.fully_shard`) brings a block's parameters together before they are used, and
adds its gradients up where their parts lie. On CUDA they are brought together as bfloat16 and added up as float32.
Initial weights, windows, learning rates and what is written are those of one device, so that any number of processes,
and one that divides nothing, can go on from a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, cast

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from regmix_pipeline.proxies.attention import rotary_table
from regmix_pipeline.proxies.evaluate import AnySample, Loss
from regmix_pipeline.proxies.loss import linear_cross_entropy
from regmix_pipeline.proxies.model import Decoder, initial_values
from regmix_pipeline.proxies.optimiser import clipping, update
from regmix_pipeline.proxies.snapshot import Snapshot
from regmix_pipeline.proxies.starts import averages_of, steps_until, weights_of
from regmix_pipeline.proxies.train import samples_of
from regmix_pipeline.proxies.training_loop import TrainingLoop

_STEP, _MEASURE, _WEIGHTS, _AVERAGES, _TENSORS, _RESTORE, _END = range(7)


def policy_on(device: torch.device) -> MixedPrecisionPolicy:
    """Types of parameters that are brought together, and of gradients that are added up."""
    return MixedPrecisionPolicy(torch.bfloat16, torch.float32) if device.type == "cuda" else MixedPrecisionPolicy()


class DividedLoop(TrainingLoop):
    """A `TrainingLoop` of whose parameters, gradients, averages and windows this process has its part.

    All processes take part in all that reads or changes parameters. The first one says what is done, and the others do
    the same in `follow`. Losses agree with those of one device; bits do not.
    """

    def _begin(self) -> None:
        spec, cuda = self.spec, self.device.type == "cuda"
        self.rank, self.processes = distributed.get_rank(), distributed.get_world_size()
        self.passes = -(-self.passes // self.processes)
        with torch.device("meta"):
            self.model = Decoder(spec.model, spec.vocabulary)
        mesh = init_device_mesh(self.device.type, (self.processes,))
        for module in (*self.model.blocks, self.model):
            if cuda and module is not self.model:
                module.compile()
            fully_shard(module, mesh=mesh, mp_policy=policy_on(self.device))
            # Every process divides its loss by all windows, so gradients are added up, and not averaged.
            cast(FSDPModule, module).set_gradient_divide_factor(1.0)
            cast(FSDPModule, module).set_force_sum_reduction_for_comms(True)  # gloo knows no others
        self.model.to_empty(device=self.device)
        heads = spec.model.width // spec.model.heads
        self.model.get_buffer("table").copy_(rotary_table(spec.model.context, heads, spec.model.rope_theta))
        self.forward = self.model
        self._parameters = {name: cast(DTensor, each) for name, each in self.model.named_parameters()}
        self._mean, self._square = (
            {name: cast(DTensor, torch.zeros_like(each)) for name, each in self._parameters.items()} for _ in range(2)
        )
        self._taken = torch.zeros((), device=self.device)
        for name, values in initial_values(self.model, spec.seed) if spec.start is None else weights_of(spec.start):
            self._keep(self._parameters[name], values)
        if spec.start is not None:
            averages = {"mean": iter(self._mean.values()), "square": iter(self._square.values())}
            for name, _, values in averages_of(spec.start, [each.numel() for each in self._parameters.values()]):
                self._keep(next(averages[name]), values)
            self._taken.fill_(steps_until(spec.start))

    @torch.no_grad()
    def _keep(self, part: DTensor, whole: Tensor) -> None:
        """Take this process's rows of a parameter, or of its average."""
        rows = whole.view(part.shape).chunk(self.processes)
        if self.rank < len(rows):  # a parameter may have fewer rows than there are processes
            part.to_local().copy_(rows[self.rank])

    def _say(self, what: int, number: int = 0) -> None:
        """Tell the others what is done next, if this is the first process."""
        if self.rank == 0:
            distributed.broadcast(torch.tensor([what, number]), 0)

    def follow(self) -> None:
        """Do what the first process does until its end."""
        samples = samples_of(self.spec)
        work: dict[int, Callable[[], object]] = {
            _STEP: self.step,
            _MEASURE: lambda: self.measured(samples),
            _WEIGHTS: self.weights,
            _AVERAGES: self.averages,
            _TENSORS: lambda: self.tensors,
        }
        said = torch.zeros(2, dtype=torch.int64)
        while True:
            distributed.broadcast(said, 0)
            what, number = said.tolist()
            if what == _END:
                return
            if what == _RESTORE:
                self.restore(Snapshot(number, {}))
            else:
                work[what]()

    def end(self) -> None:
        """Let the others go."""
        self._say(_END)

    def step(self) -> None:
        """See `TrainingLoop.step`."""
        self._say(_STEP)
        rows = self.next_rows()
        loss = self._gradients(rows.reshape(self.processes, -1, rows.shape[1])[self.rank])
        distributed.all_reduce(loss)
        self.took(loss, self._update())

    def _loss(self, hidden: Tensor, labels: Tensor, scale: float, first: int) -> Tensor:
        return linear_cross_entropy(hidden, self.model.head, labels, scale=scale / self.processes)

    @torch.no_grad()
    def _update(self) -> Tensor:
        """Clip and take AdamW's step; returns the norm of the whole gradient, a scalar."""
        local = [each.to_local() for each in self._parameters.values()]
        gradients = [cast(DTensor, each.grad).to_local() for each in self._parameters.values()]
        squares = torch.stack([each.square().sum() for each in gradients]).sum()
        distributed.all_reduce(squares)
        norm = squares.sqrt()
        factor, training = clipping(norm, self.spec.training), self.spec.training
        for each in gradients:
            each.mul_(factor)
        means, square = ([each.to_local() for each in kept.values()] for kept in (self._mean, self._square))
        update(local, gradients, means, square, self._taken, self.learning_rate, training)
        for each in self._parameters.values():
            each.grad = None
        return norm

    def measured(self, samples: Sequence[AnySample]) -> dict[str, Loss]:
        """See `TrainingLoop.measured`: all processes measure all samples."""
        self._say(_MEASURE)
        found = super().measured(samples)
        cast(FSDPModule, self.model).reshard()
        return found

    def weights(self) -> dict[str, Tensor]:
        """See `TrainingLoop.weights`; of the other processes, nothing."""
        self._say(_WEIGHTS)
        return dict(self._whole(self._parameters))

    def averages(self) -> dict[str, Tensor]:
        """See `TrainingLoop.averages`, on the CPU; of the other processes, nothing."""
        self._say(_AVERAGES)
        return {"mean": self._flat(self._mean), "square": self._flat(self._square)}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See `TrainingLoop.tensors`, on the CPU; of the other processes, nothing."""
        self._say(_TENSORS)
        found = {"parameters": self._flat(self._parameters), "mean": self._flat(self._mean)}
        return found | {"square": self._flat(self._square), "losses": self.losses, "norms": self.norms}

    def _flat(self, parts: dict[str, DTensor]) -> Tensor:
        """One tensor of the parameters' values, in their order, (parameters,)."""
        pieces = [each.reshape(-1) for _, each in self._whole(parts)]
        return torch.cat(pieces) if pieces else torch.empty(0)

    @torch.no_grad()
    def _whole(self, parts: dict[str, DTensor]) -> Iterator[tuple[str, Tensor]]:
        """Name and values on the CPU, gathered one parameter after the other; of the other processes, nothing."""
        for name, part in parts.items():
            whole = part.full_tensor()
            if self.rank == 0:
                yield name, whole.detach().cpu().contiguous()

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """See `TrainingLoop.restore`; the tensors of the first process count."""
        self._say(_RESTORE, snapshot.taken)
        given: dict[str, Any] = snapshot.tensors
        for kind, parts in (("parameters", self._parameters), ("mean", self._mean), ("square", self._square)):
            sizes = [each.numel() for each in parts.values()]
            for end, part in zip(accumulate(sizes), parts.values(), strict=True):
                size = part.numel()
                piece = given[kind][end - size : end] if given else torch.empty(size)
                whole = piece.to(self.device).contiguous()
                distributed.broadcast(whole, 0)
                self._keep(part, whole)
        for kind, kept in (("losses", self.losses), ("norms", self.norms)):
            if kind in given:
                kept.copy_(given[kind])
        self._taken.fill_(self.spec.steps_before + snapshot.taken)
        self.taken = snapshot.taken
