"""From a batch of models to wall time: on workers whose speed is known, or on devices whose FLOP/s are stated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from regmix_pipeline.errors import PlanError
from regmix_pipeline.planning import stated
from regmix_pipeline.planning.hardware import Hardware
from regmix_pipeline.planning.measured import available_bytes
from regmix_pipeline.planning.speed import Speed
from regmix_pipeline.planning.work import Work
from regmix_pipeline.progress import clock
from regmix_pipeline.proxies.memory import Memory, shares, whole_fits, worker_memory
from regmix_pipeline.proxies.workers.local import PROXIES_PER_GPU, models_at_once

QUIET = 0.9
"""Share of its core that a worker of a trial must have had for the machine to count as quiet."""


class Trainers(Protocol):
    """Whatever trains and measures the models."""

    @property
    def workers(self) -> int:
        """Models that train at once."""
        ...

    def training(self, work: Work, models: int) -> float:
        """Seconds to train so many of a batch."""
        ...

    def measuring(self, work: Work, models: int) -> float:
        """Seconds to measure so many of a batch on all targets."""
        ...

    def devices(self, work: Work) -> int:
        """Devices that a batch keeps busy."""
        ...

    def per_model(self, work: Work) -> int:
        """Devices that one of its models trains on."""
        ...

    def divided(self, work: Work) -> bool:
        """Whether each of those devices holds only its part of a model."""
        ...

    def stack(self, work: Work) -> int:
        """Models of a batch that train at once on each of them."""
        ...

    def memory(self, work: Work) -> Memory:
        """What a worker needs."""
        ...

    def source(self, work: Work) -> str:
        """Where the seconds come from."""
        ...

    def warnings(self, work: Work) -> list[str]:
        """What would stop a batch."""
        ...


@dataclass(frozen=True)
class Workers:
    """Processes on this machine, a core or a share of a GPU each.

    Attributes:
        workers: processes.
        speeds: batch -> speed of a worker.
        here: CUDA devices of this machine.
        gpus: of them that a model trains on that is not stacked.
        divide: whether the study divides a model among them; None: where it has to, which is not known here.
    """

    workers: int
    speeds: Mapping[str, Speed]
    here: int = 0
    gpus: int = 1
    divide: bool | None = None

    def stack(self, work: Work) -> int:
        """As the speed was measured."""
        return self.speeds[work.what].stack

    def training(self, work: Work, models: int) -> float:
        """Rounds of equal models; between two of them a worker waits for its result to be recorded."""
        if not models:
            return 0.0
        speed, at_once = self.speeds[work.what], min(self._at_once(work), models)
        between = stated.TASK_SECONDS + (stated.ORCHESTRATION_SECONDS if work.what == "proxies" else 0.0)
        rounds = math.ceil(models / at_once)
        steps = work.steps * speed.step
        each = speed.model_seconds(work) - steps + steps / self.per_model(work)
        return speed.startup + max(rounds * (each + between), models * between)

    def measuring(self, work: Work, models: int) -> float:
        """Evaluations are small, so that workers end together."""
        tasks = models * work.targets
        if not tasks:
            return 0.0
        speed = self.speeds[work.what]
        each = speed.evaluation + stated.TASK_SECONDS
        return speed.startup + max(tasks * each / min(self.workers, tasks), speed.evaluation)

    def devices(self, work: Work) -> int:
        """Cores, or GPUs where a model trains on several."""
        return min(self._at_once(work), work.models) * self.per_model(work)

    def per_model(self, work: Work) -> int:
        """More than one where GPUs are there and no stack is."""
        return min(self.gpus, self.here) if self.here > 1 and self.stack(work) == 1 else 1

    def divided(self, work: Work) -> bool:
        """Where the study says so."""
        return self.divide is True and self.per_model(work) > 1

    def _at_once(self, work: Work) -> int:
        several = self.per_model(work)
        return self.workers if several == 1 else models_at_once(self.here, several)

    def memory(self, work: Work) -> Memory:
        """Of a worker on a CPU."""
        return worker_memory(work.model, work.vocabulary, work.training.windows_per_step, stack=self.stack(work))

    def warnings(self, work: Work) -> list[str]:
        """Whether this machine's memory holds the workers."""
        found = []
        if (share := self.speeds[work.what].core_share) < QUIET:
            seconds = self.training(work, work.models) * share
            found.append(
                f"{work.what}: other work took {1 - share:.0%} of the cores during the trial; without it "
                f"training would take about {clock(seconds)}"
            )
        need, has = self.memory(work).total * self.devices(work), available_bytes()
        if need <= has:
            return found
        return [
            *found,
            f"{work.what}: {self.devices(work)} workers need {need / 1e9:,.1f} GB, {has / 1e9:,.1f} GB are "
            "free: give --workers",
        ]

    def source(self, work: Work) -> str:
        """Of the batch's speed."""
        return self.speeds[work.what].source


@dataclass(frozen=True)
class Devices:
    """Devices of stated FLOP/s, of which some models may share one.

    Attributes:
        hardware: the devices.
        source_: where their rate comes from.
        most: models at most that the study trains on a device at once; default what the hardware says.
        gpus: devices that a model trains on that has none beside it on its device.
        divide: whether a model is divided among them; None: where one of them does not hold it.
    """

    hardware: Hardware
    source_: str
    most: int | None = None
    gpus: int = 1
    divide: bool | None = None

    @property
    def workers(self) -> int:
        """Models that train at once, where memory allows."""
        return self.hardware.devices * self._most

    @property
    def _most(self) -> int:
        return min(self.most or self.hardware.proxies_per_device, self.hardware.proxies_per_device)

    def stack(self, work: Work) -> int:
        """As many as there are for a device and its memory holds.

        Raises:
            PlanError: not even one fits, however small its passes.
        """
        need = self._memory(work, 1)
        if need.fixed > self.hardware.memory_gb * 1e9:
            raise PlanError(
                f"a model of the {work.what} needs {need.fixed / 1e9:,.1f} GB on each device, which has "
                f"{self.hardware.memory_gb:,g}",
                where=f"{self.hardware.name}.memory_gb",
                remedy="plan for devices with more memory, divide it among more by proxies.engine.gpus_per_model, or "
                "choose a smaller model",
            )
        most = min(self._most, max(1, math.ceil(work.models / self.hardware.devices)))
        room = self.hardware.memory_gb * 1e9
        return max((size for size in range(2, most + 1) if self._memory(work, size).total <= room), default=1)

    def warnings(self, work: Work) -> list[str]:
        """What would stop a batch on these devices."""
        found, each, windows = [], self.per_model(work), work.training.windows_per_step
        if windows < each:
            found.append(
                f"{work.what}: a step of {windows} windows is not enough for {each} devices: "
                f"lower proxies.engine.gpus_per_model to {windows} or less"
            )
        elif self.divided(work) and windows % each:
            found.append(
                f"{work.what}: a step of {windows} windows cannot be shared by the {each} devices that a model is "
                f"divided among: lower proxies.engine.gpus_per_model to {shares(windows, each)}"
            )
        need = self.memory(work).total
        if need <= self.hardware.memory_gb * 1e9:
            return found
        return [
            *found,
            f"{work.what}: a worker needs {need / 1e9:,.0f} GB, a device has {self.hardware.memory_gb:,.0f} GB: "
            "it runs out of memory; planned as if it did not",
        ]

    def training(self, work: Work, models: int) -> float:
        """Devices take models in turn; those on one device share its rate."""
        if not models:
            return 0.0
        several = self.per_model(work)
        device = math.ceil(models / models_at_once(self.hardware.devices, several))
        rate = self.hardware.teraflops(work.model.width) * 1e12 * several
        flops = work.flops + work.sampled_windows * work.window_flops
        rounds = math.ceil(device / self.stack(work))
        between = models * (stated.ORCHESTRATION_SECONDS + stated.TASK_SECONDS)
        alone = stated.WORKER_STARTUP[self.hardware.kind] + device * flops / rate + rounds * stated.MODEL_OVERHEAD
        return max(alone, between)

    def measuring(self, work: Work, models: int) -> float:
        """The same for losses."""
        tasks = models * work.targets
        if not tasks:
            return 0.0
        rate = self.hardware.teraflops(work.model.width) * 1e12
        device = math.ceil(tasks / self.hardware.devices)
        # Losses are measured by workers that share a device, not by stacks.
        rounds = math.ceil(device / min(self.hardware.proxies_per_device, PROXIES_PER_GPU))
        alone = device * work.windows * work.window_flops / rate + rounds * stated.EVALUATION_OVERHEAD
        return stated.WORKER_STARTUP["cpu"] + max(alone, tasks * stated.TASK_SECONDS)

    def devices(self, work: Work) -> int:
        """Devices with a model on them."""
        several = self.per_model(work)
        return min(models_at_once(self.hardware.devices, several), work.models) * several

    def per_model(self, work: Work) -> int:
        """More than one where no stack is."""
        return self._several if self.stack(work) == 1 else 1

    @property
    def _several(self) -> int:
        return min(self.gpus, self.hardware.devices)

    def divided(self, work: Work) -> bool:
        """As `workers.parallel` does."""
        return self.stack(work) == 1 and self._parts(work) > 1

    def _parts(self, work: Work) -> int:
        """Devices that a model which is not stacked is divided among."""
        several, room = self._several, self.hardware.memory_gb * 1e9
        windows = work.training.windows_per_step
        divide = (
            not whole_fits(work.model, work.vocabulary, windows, several, room) if self.divide is None else self.divide
        )
        return several if divide else 1

    def memory(self, work: Work) -> Memory:
        """Of a worker on such a device, with all models that it trains at once."""
        return self._memory(work, self.stack(work))

    def _memory(self, work: Work, stack: int) -> Memory:
        parts, windows = self._parts(work) if stack == 1 else 1, work.training.windows_per_step
        return worker_memory(work.model, work.vocabulary, windows, self.hardware.kind, stack, parts)

    def source(self, work: Work) -> str:
        """Of the rate."""
        return f"{self.source_}: {self.hardware.teraflops(work.model.width):,.3g} TFLOP/s a device"


def evaluation_seconds(work: Work, step: float) -> float:
    """Seconds of a worker for one final loss, from what a step takes: by FLOPs, a forward pass and no more."""
    return stated.EVALUATION_OVERHEAD + work.windows * work.window_flops / work.flops * work.steps * step
