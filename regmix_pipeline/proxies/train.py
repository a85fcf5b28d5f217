# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""Train one proxy: a spec in, a whole folder out.

The folder holds `model.safetensors` (float32), `proxy.json` (the spec, what was executed, speed, versions) and
`trajectory.parquet` (losses per target at log-spaced steps; training loss, gradient norm and learning rate of every
step). `speed.parquet` has the tokens per second, which no checksum covers. It appears under its final name finished or
not at all.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from filelock import FileLock

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import folder_written_atomically, read_json, sha256_of, write_json
from regmix_pipeline.progress import Say, Within, to_nobody
from regmix_pipeline.proxies.device import device_of
from regmix_pipeline.proxies.evaluate import AnySample, sample_on_the_way
from regmix_pipeline.proxies.integrity import RECORD, SPEED, TRAJECTORY, speed_schema, trajectory_schema
from regmix_pipeline.proxies.live import LiveSteps
from regmix_pipeline.proxies.snapshot import Snapshot, load_snapshot, save_snapshot
from regmix_pipeline.proxies.spec import TRAINING_CODE, ProxySpec
from regmix_pipeline.proxies.starts import save_averages
from regmix_pipeline.proxies.training_loop import NOT_FINITE, TrainingLoop
from regmix_pipeline.proxies.windows import within_quota

_CHECK_EVERY = 16


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
        for path in (spec.snapshot, spec.live_steps):
            path.unlink(missing_ok=True)
        raise


class Stopwatch:
    """Measures one piece of work after the other."""

    def __init__(self) -> None:
        self._mark = time.monotonic()

    def since_last(self) -> float:
        """Seconds since it was last asked, or made."""
        before, self._mark = self._mark, time.monotonic()
        return self._mark - before


class TrainingRun:
    """A training from its last snapshot to its folder: all that is done besides the steps.

    Args:
        spec: the proxy, whose lock the caller holds.
        device: where it is trained.
        say: as in `train_proxy`.
        stopwatch: of all trainings that take their steps together; default one of its own.
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
        stopwatch: Stopwatch | None = None,
        together: int = 1,
        loop: type[TrainingLoop] = TrainingLoop,
    ) -> None:
        started = time.monotonic()
        self.spec, self.stopwatch, self.together = spec, stopwatch or Stopwatch(), together
        self.trainer = loop(spec, device)
        self.samples = samples_of(spec)
        before = load_snapshot(spec, device)
        if before is not None:
            self.trainer.restore(before)
        self.continued = before.taken if before else 0
        self.rows = list(before.trajectory) if before else []
        self.seconds = {"steps": 0.0, "evaluation": 0.0, "snapshots": 0.0} | (before.seconds if before else {})
        self._sample_at = set(spec.evaluation.trajectory_steps(self.trainer.steps)) if self.samples else set()
        self.speed: list[dict[str, Any]] = []
        self._live, self._shown = LiveSteps(spec.live_steps), (0, 0)
        self._tokens = spec.training.windows_per_step * spec.model.context
        self._timed = self.trainer.taken, self.seconds["steps"]
        self._within = Within(spec.id, self.trainer.last, self._tokens, say, self.trainer.taken)
        self._pause, self._saved = spec.snapshot_seconds, time.monotonic()
        self._loading = time.monotonic() - started
        self.stopwatch.since_last()

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
        looks = trainer.taken % _CHECK_EVERY == 0 or trainer.taken == trainer.last or trainer.taken in self._sample_at
        if looks:
            trainer.check()
            self._clock("steps")
            steps, passed = trainer.taken - self._timed[0], self.seconds["steps"] - self._timed[1]
            self.speed.append({"step": trainer.taken, "tokens_per_second": steps * self._tokens / max(passed, 1e-9)})
            self._timed = trainer.taken, self.seconds["steps"]
        if trainer.taken in self._sample_at:
            self.rows.extend(_sampled(trainer, self.samples))
            self._clock("evaluation")
        if looks and self.goes_on:
            self._show()
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

    def _show(self) -> None:
        """Write the steps since the last time where others can read them."""
        steps, losses = self._shown
        new = self.trainer.rows(steps)
        new[-1]["tokens_per_second"] = self.speed[-1]["tokens_per_second"]
        self._live.add([*new, *self.rows[losses:]])
        self._shown = self.trainer.taken, len(self.rows)

    def _clock(self, what: str) -> float:
        took = self.stopwatch.since_last()
        self.seconds[what] += took
        return took

    def finished(self) -> dict[str, Any]:
        """Write the proxy; returns what `proxy.json` holds.

        Raises:
            ProxyError: what was executed is not what the mixture asks for.
        """
        self._clock("steps")
        seconds = {what: round(value, 4) for what, value in self.seconds.items()} | {"loading": round(self._loading, 4)}
        self.spec.live_steps.unlink(missing_ok=True)  # its place may be needed
        _write(self.spec, self.trainer, self.rows, self.speed, seconds, self.continued, self.together)
        self.spec.snapshot.unlink(missing_ok=True)
        self.stopwatch.since_last()
        return read_json(self.spec.output / "proxy.json")


def samples_of(spec: ProxySpec) -> list[AnySample]:
    """What a model is measured on in its training; raises as `evaluate.sample_on_the_way`."""
    return [sample_on_the_way(name, file, spec.model.context, spec.evaluation) for name, file in spec.targets.items()]


def _sampled(trainer: TrainingLoop, samples: Sequence[AnySample]) -> list[dict[str, Any]]:
    spec, step = trainer.spec, trainer.taken
    try:
        losses = trainer.measured(samples)
    except ProxyError as error:
        raise ProxyError(error.problem, where=f"proxy {spec.id} step {step}", remedy=NOT_FINITE) from error
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
    if by_quota and not within_quota(
        spec.exact_mixture, {name: use.windows for name, use in used.items()}, dict(spec.phases_together)
    ):
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
        save_file(trainer.weights(), temporary / "model.safetensors", metadata={"proxy": spec.id})
        value["sha256"] = sha256_of(temporary / "model.safetensors")
        if spec.steps_after:
            value["optimiser_sha256"] = save_averages(temporary, trainer.averages())
        rows = pa.Table.from_pylist([*trajectory, *trainer.rows()], schema=trajectory_schema())
        pq.write_table(rows, temporary / TRAJECTORY)
        pq.write_table(pa.Table.from_pylist(speed, schema=speed_schema()), temporary / SPEED)
        write_json(temporary / RECORD, value)
