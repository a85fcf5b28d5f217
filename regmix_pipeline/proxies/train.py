# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""Train one proxy: a spec in, a whole folder out.

The folder holds `model.safetensors` (float32), `proxy.json` (the spec, what was executed, speed, versions) and
`trajectory.parquet` (losses per target at log-spaced steps; training loss, gradient norm and learning rate of every
step). `speed.parquet` has the tokens per second, which no checksum covers. It appears under its final name finished or
not at all.
"""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import folder_written_atomically, read_json, sha256_of, write_json
from regmix_pipeline.progress import Say, Within, to_nobody
from regmix_pipeline.proxies.device import autocast, device_of
from regmix_pipeline.proxies.evaluate import AnySample, losses_on, sample_on_the_way
from regmix_pipeline.proxies.integrity import RECORD, SPEED, TRAJECTORY, speed_schema, trajectory_schema
from regmix_pipeline.proxies.loss import linear_cross_entropy
from regmix_pipeline.proxies.model import Decoder, initialise
from regmix_pipeline.proxies.optimiser import FlatAdamW
from regmix_pipeline.proxies.snapshot import Snapshot, load_snapshot, save_snapshot
from regmix_pipeline.proxies.spec import TRAINING_CODE, ProxySpec
from regmix_pipeline.proxies.starts import load_optimiser, load_weights, save_optimiser
from regmix_pipeline.proxies.windows import TrainingWindows, drawn_before, within_quota

_CHECK_EVERY = 16
_NOT_FINITE = "lower training.learning_rate, or look at the shards' text"


class TrainingLoop:
    """A proxy in training: weights, optimiser and windows; `step` is all there is to the loop.

    All parameters are views of one flat tensor, and so are their gradients: clipping and AdamW are one kernel each.

    Args:
        spec: the proxy.
        device: where it is trained.
        windows: what it sees; default what its mixture asks for.
    """

    def __init__(self, spec: ProxySpec, device: torch.device, windows: TrainingWindows | None = None) -> None:
        self.spec, self.device = spec, device
        training, context = spec.training, spec.model.context
        self.steps = training.steps(context)
        self.windows = windows or TrainingWindows(
            spec.exact_mixture,
            spec.shards,
            context,
            self.steps * training.windows_per_step,
            spec.seed,
            spec.available_windows,
            training.draws,
            drawn_before(spec),
        )
        self.model = Decoder(spec.model, spec.vocabulary)
        if spec.start is None:
            initialise(self.model, spec.seed)
        else:
            load_weights(spec.start, self.model)
        self.model.to(device)
        self.flat, self.gradient = flattened(self.model)
        self.optimiser = FlatAdamW(self.flat, self.gradient, training)
        if spec.start is not None:
            load_optimiser(spec.start, self.optimiser)
        self.forward = torch.compile(self.model) if device.type == "cuda" else self.model
        per_pass = max(1, spec.model.tokens_per_pass(device.type) // context)
        self.passes = math.ceil(training.windows_per_step / per_pass)
        self.last = min(spec.stop_at or self.steps, self.steps)
        self.losses, self.norms = (torch.full((self.last,), math.nan, device=device) for _ in range(2))
        self.taken = 0

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that steps change: parameters, AdamW's averages, training losses and norms of gradients."""
        optimiser = self.optimiser
        return {
            "parameters": self.flat,
            "mean": optimiser.mean,
            "square": optimiser.square,
            "losses": self.losses,
            "norms": self.norms,
        }

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Become the training that the snapshot was taken of."""
        for name, tensor in self.tensors.items():
            if name in snapshot.tensors:  # those of earlier versions have no norms
                tensor.copy_(snapshot.tensors[name])
        self.optimiser.taken.fill_(self.spec.steps_before + snapshot.taken)
        self.taken = snapshot.taken

    @torch.no_grad()
    def move(self, flat: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> None:
        """Keep parameters, their gradient and AdamW's averages in these tensors from now on, shape (parameters,)."""
        optimiser = self.optimiser
        held = (self.flat, self.gradient, optimiser.mean, optimiser.square)
        for new, old in zip((flat, gradient, mean, square), held, strict=True):
            new.copy_(old)
        become_views(self.model, flat, gradient)
        self.flat, self.gradient = optimiser.parameter, optimiser.gradient = flat, gradient
        optimiser.mean, optimiser.square = mean, square

    def step(self) -> None:
        """One optimiser step: gradients of all its windows, clipped, then AdamW."""
        self.gradient.zero_()
        self.update(self._gradients(self.next_rows()))

    def next_rows(self) -> NDArray[np.int64]:
        """The next step's windows, shape (windows per step, context + 1).

        Raises:
            ProxyError: a token is outside the vocabulary.
        """
        windows = self.spec.training.windows_per_step
        rows = self.windows.read(self.taken * windows, windows)
        if int(rows.max()) >= self.spec.vocabulary:
            raise ProxyError(
                f"a token is outside the vocabulary of {self.spec.vocabulary}",
                where=f"{self.spec.id} step {self.taken + 1}",
                remedy="make the shards again with the study's tokenizer",
            )
        return rows

    def update(self, loss: Tensor) -> None:
        """Take the step that the gradient asks for, now that it is whole; ``loss`` is the step's, a scalar."""
        self.losses[self.taken] = loss
        self.norms[self.taken] = self.optimiser.step(self._learning_rate_at(self.taken))
        self.taken += 1

    def _learning_rate_at(self, step: int) -> float:
        """Learning rate of a step from 0, in one schedule over all phases."""
        spec = self.spec
        return spec.training.learning_rate_at(
            spec.steps_before + step, spec.steps_before + self.steps + spec.steps_after
        )

    def _gradients(self, rows: NDArray[np.int64]) -> Tensor:
        scale = 1.0 / (rows.shape[0] * self.spec.model.context)
        total = torch.zeros((), device=self.device)
        first = 0
        for part in torch.from_numpy(rows).to(self.device).chunk(self.passes):
            with autocast(self.device):
                loss = self._loss(self.forward(part[:, :-1]), part[:, 1:].reshape(-1), scale, first)
            loss.backward()
            total += loss.detach()
            first += len(part)
        return total

    def _loss(self, hidden: Tensor, labels: Tensor, scale: float, first: int) -> Tensor:
        """``scale`` times the sum of the losses of a pass, whose windows are those from ``first`` on of the step."""
        head = self.model.head
        return linear_cross_entropy(hidden, head, labels, scale=scale, gradient=head.grad)

    def rows(self) -> list[dict[str, Any]]:
        """The steps taken, as rows of the trajectory."""
        training = self.spec.training
        tokens = training.windows_per_step * self.spec.model.context
        losses, norms = (tensor[: self.taken].tolist() for tensor in (self.losses, self.norms))
        return [
            {
                "step": step + 1,
                "tokens": (step + 1) * tokens,
                "training_loss": loss,
                "gradient_norm": norm,
                "learning_rate": self._learning_rate_at(step),
            }
            for step, (loss, norm) in enumerate(zip(losses, norms, strict=True))
        ]

    def check(self) -> None:
        """Look at the losses so far.

        Raises:
            ProxyError: one is not finite; names the proxy and the first such step.
        """
        finite = torch.isfinite(self.losses[: self.taken])
        if not bool(finite.all()):
            first = int((~finite).nonzero()[0]) + 1
            raise ProxyError(
                f"the training loss is {float(self.losses[first - 1])}",
                where=f"proxy {self.spec.id} step {first}",
                remedy=_NOT_FINITE,
            )


def flattened(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Move all parameters into one flat one, of which they become views; the same for their gradients, set to zero.

    Returns:
        The flat parameters and their flat gradient, both of shape (parameters,).
    """
    parameters = list(model.parameters())
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    gradient = torch.zeros_like(flat)
    become_views(model, flat, gradient)
    return flat, gradient


def become_views(model: nn.Module, flat: Tensor, gradient: Tensor) -> None:
    """Let all parameters be views of ``flat``, and their gradients of ``gradient``, both of shape (parameters,)."""
    start = 0
    for parameter in model.parameters():
        end = start + parameter.numel()
        shape = parameter.shape
        parameter.data = flat[start:end].view(shape)
        parameter.grad = gradient[start:end].view(shape)
        start = end


def train_proxy(spec: ProxySpec, worker: int = 0, say: Say = to_nobody) -> dict[str, Any]:
    """Train a proxy, or read the finished one of the same id.

    Args:
        spec: what to train.
        worker: number of the calling worker, which chooses among CUDA devices.
        say: called with a line about the steps taken and the time left, where a model takes longer than
            `progress.WITHIN` seconds.

    Returns:
        What `proxy.json` holds.

    Raises:
        ProxyError: a loss is not finite, or what was executed is not what the mixture asks for.
        TokenError: a shard is missing, altered or too small.
    """
    train_start(spec, worker, say)
    spec.lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(spec.lock):
        if spec.is_finished:
            return read_json(spec.output / "proxy.json")
        run = TrainingRun(spec, device_of(spec.device, worker), say)
        with starting_again_after_errors(spec):
            while run.goes_on:
                run.trainer.step()
                run.after_step()
        return run.finished()


def train_start(spec: ProxySpec, worker: int = 0, say: Say = to_nobody) -> None:
    """Train the model that a proxy goes on from, unless it is there; raises as `train_proxy`."""
    if spec.start is not None and not spec.is_finished:
        train_proxy(spec.start, worker, say)


@contextlib.contextmanager
def starting_again_after_errors(spec: ProxySpec) -> Iterator[None]:
    """Drop the snapshot after a ProxyError: what it holds leads to the same error."""
    try:
        yield
    except ProxyError:
        spec.snapshot.unlink(missing_ok=True)
        raise


class Laps:
    """A stopwatch."""

    def __init__(self) -> None:
        self._mark = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._mark = self._mark, time.monotonic()
        return self._mark - before


class TrainingRun:
    """A training from its last snapshot to its folder: all that is done besides the steps.

    Args:
        spec: the proxy, whose lock the caller holds.
        device: where it is trained.
        say: as in `train_proxy`.
        laps: the stopwatch of all trainings that take their steps together; default one of its own.
        together: how many those are.
        loop: the kind of training.

    Raises:
        ProxyError, TokenError: as `train_proxy`.
    """

    def __init__(
        self,
        spec: ProxySpec,
        device: torch.device,
        say: Say = to_nobody,
        laps: Laps | None = None,
        together: int = 1,
        loop: type[TrainingLoop] = TrainingLoop,
    ) -> None:
        started = time.monotonic()
        self.spec, self.laps, self.together = spec, laps or Laps(), together
        self.trainer = loop(spec, device)
        self.samples = [
            sample_on_the_way(name, file, spec.model.context, spec.evaluation) for name, file in spec.targets.items()
        ]
        before = load_snapshot(spec, device)
        if before is not None:
            self.trainer.restore(before)
        self.continued = before.taken if before else 0
        self.rows = list(before.trajectory) if before else []
        self.seconds = {"steps": 0.0, "evaluation": 0.0, "snapshots": 0.0} | (before.seconds if before else {})
        self._sample_at = set(spec.evaluation.trajectory_steps(self.trainer.steps)) if self.samples else set()
        self.speed: list[dict[str, Any]] = []
        self._tokens = spec.training.windows_per_step * spec.model.context
        self._timed = self.trainer.taken, self.seconds["steps"]
        self._within = Within(spec.id, self.trainer.last, self._tokens, say, self.trainer.taken)
        self._pause, self._saved = spec.snapshot_seconds, time.monotonic()
        self._loading = time.monotonic() - started
        self.laps.lap()

    @property
    def goes_on(self) -> bool:
        """Whether there are steps left."""
        return self.trainer.taken < self.trainer.last

    def after_step(self) -> None:
        """Look at the losses, sample, write the landmark and a snapshot, where it is time for them.

        Raises:
            ProxyError: a loss is not finite.
        """
        spec, trainer = self.spec, self.trainer
        self._within.at(trainer.taken)
        if trainer.taken % _CHECK_EVERY == 0 or trainer.taken == trainer.last or trainer.taken in self._sample_at:
            trainer.check()
            self._clock("steps")
            steps, passed = trainer.taken - self._timed[0], self.seconds["steps"] - self._timed[1]
            self.speed.append({"step": trainer.taken, "tokens_per_second": steps * self._tokens / max(passed, 1e-9)})
            self._timed = trainer.taken, self.seconds["steps"]
        if trainer.taken in self._sample_at:
            self.rows.extend(_sampled(trainer, self.samples))
            self._clock("evaluation")
        if trainer.taken == spec.landmark:
            trainer.check()
            self._clock("steps")
            _write(spec.at_landmark, trainer, self.rows, self.speed, dict(self.seconds), 0, self.together)
            self._clock("snapshots")
        if time.monotonic() - self._saved >= self._pause and trainer.taken < trainer.last:
            trainer.check()
            self._clock("steps")
            save_snapshot(spec, trainer.device, Snapshot(trainer.taken, trainer.tensors, self.rows, dict(self.seconds)))
            took = self._clock("snapshots")
            # However slow the disk, snapshots take no more than a twentieth of the time.
            longest = 19 * took * self.together
            self._pause = max(spec.snapshot_seconds, longest) if spec.snapshot_seconds else 0.0
            self._saved = time.monotonic()

    def _clock(self, what: str) -> float:
        took = self.laps.lap()
        self.seconds[what] += took
        return took

    def finished(self) -> dict[str, Any]:
        """Write the proxy; returns what `proxy.json` holds.

        Raises:
            ProxyError: what was executed is not what the mixture asks for.
        """
        self._clock("steps")
        seconds = {what: round(value, 4) for what, value in self.seconds.items()} | {"loading": round(self._loading, 4)}
        _write(self.spec, self.trainer, self.rows, self.speed, seconds, self.continued, self.together)
        self.spec.snapshot.unlink(missing_ok=True)
        self.laps.lap()
        return read_json(self.spec.output / "proxy.json")


def _sampled(trainer: TrainingLoop, samples: Sequence[AnySample]) -> list[dict[str, Any]]:
    spec, step = trainer.spec, trainer.taken
    try:
        losses = losses_on(trainer.model, samples)
    except ProxyError as error:
        raise ProxyError(error.problem, where=f"proxy {spec.id} step {step}", remedy=_NOT_FINITE) from error
    tokens = step * spec.training.windows_per_step * spec.model.context
    return [
        {
            "target": name,
            "target_version": spec.targets[name].measure_version,
            "step": step,
            "tokens": tokens,
            **loss.as_json(),
        }
        for name, loss in losses.items()
    ]


def _write(
    spec: ProxySpec,
    trainer: TrainingLoop,
    trajectory: list[dict[str, Any]],
    speed: list[dict[str, Any]],
    seconds: dict[str, float],
    continued: int,
    together: int,
) -> None:
    """Write the proxy as it is now, under ``spec``'s id, unless it is there."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.torch import save_file

    if spec.is_finished:
        return
    used = trainer.windows.used(trainer.taken * spec.training.windows_per_step)
    by_quota = spec.training.draws == "quota"
    if by_quota and not within_quota(spec.exact_mixture, {domain: use.windows for domain, use in used.items()}):
        raise ProxyError("executed windows are not within the quota", where=spec.id, remedy="report this as a bug")
    tokens = sum(use.tokens for use in used.values())
    value = {
        "id": spec.id,
        "mixture": spec.exact_mixture.id,
        "seed": spec.seed,
        "spec": spec.model_dump(mode="json"),
        "steps": trainer.taken,
        "tokens": tokens,
        "domains": {domain: asdict(use) for domain, use in used.items()},
        "parameters": spec.model.parameters(spec.vocabulary),
        "training_loss": float(trainer.losses[: trainer.taken][-max(1, trainer.taken // 10) :].mean()),
        "seconds": seconds | {"total": round(sum(seconds.values()), 4)},
        "continued_from_step": continued,
        "tokens_per_second": round(tokens / max(seconds["steps"], 1e-9), 1),
        "device": str(trainer.device),
        **({"stacked": together} if together > 1 else {}),
        **({"goes_on_from": spec.start.id} if spec.start is not None else {}),
        "versions": {"code": TRAINING_CODE, "torch": torch.__version__, "python": platform.python_version()},
    }
    with folder_written_atomically(spec.output) as temporary:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in trainer.model.state_dict().items()}
        save_file(weights, temporary / "model.safetensors", metadata={"proxy": spec.id})
        value["sha256"] = sha256_of(temporary / "model.safetensors")
        if spec.steps_after:
            value["optimiser_sha256"] = save_optimiser(temporary, trainer.optimiser)
        rows = pa.Table.from_pylist([*trajectory, *trainer.rows()], schema=trajectory_schema())
        pq.write_table(rows, temporary / TRAJECTORY)
        pq.write_table(pa.Table.from_pylist(speed, schema=speed_schema()), temporary / SPEED)
        write_json(temporary / RECORD, value)
