# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""One proxy over several devices of a machine: each takes its share of a step's windows, and gradients are added up.

All parameters are one flat tensor, so data-parallel training is one all-reduce a step; a model that no device could
hold is divided among them (`divided.DividedLoop`). torchrun starts a process for
each device, as ``python -P -m regmix_pipeline.proxies.workers.parallel JOB``; the first of them samples, writes
snapshots and the proxy. Sums over devices round differently from sums on one: losses agree, bits do not.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.distributed as distributed
from filelock import FileLock
from torch.distributed import run as torchrun

from regmix_pipeline.errors import ProxyError, error_from_payload
from regmix_pipeline.files import read_json, write_json
from regmix_pipeline.processes import command, how_it_ended, module_search
from regmix_pipeline.progress import to_stderr
from regmix_pipeline.proxies.memory import shares, whole_fits
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.train import TrainingRun, starting_again_after_errors
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.proxies.workers.local import explained, where_of
from regmix_pipeline.proxies.workers.prepare import prepare_torch

if TYPE_CHECKING:
    from regmix_pipeline.proxies.divided import DividedLoop

_DIES_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl."""


class ParallelLoop(TrainingLoop):
    """A `TrainingLoop` of whose windows this process takes its share; steps are the same in all processes."""

    def step(self) -> None:
        """See `TrainingLoop.step`."""
        rank, processes = distributed.get_rank(), distributed.get_world_size()
        rows = self.next_rows()
        own = np.array_split(rows, processes)[rank]
        share = len(own) / len(rows)
        self.gradient.zero_()
        loss = self._gradients(own) * share
        self.gradient.mul_(share)
        for tensor in (self.gradient, loss):
            distributed.all_reduce(tensor)
        self.update(loss)

    def follow(self) -> None:
        """Train beside the first process."""
        self.agree()
        while self.taken < self.last:
            self.step()

    def agree(self) -> None:
        """Go on from where the first process is, which may have read a snapshot."""
        taken = torch.tensor(self.taken, device=self.device)
        for tensor in (taken, *self.tensors.values()):
            distributed.broadcast(tensor, 0)
        self.taken = int(taken)
        self.optimiser.taken.fill_(self.spec.steps_before + self.taken)


def train_in_parallel(spec: ProxySpec, devices: list[int] | int, divide: bool | None = None) -> dict[str, Any]:
    """Train a proxy over several CUDA devices, or read the finished one.

    Args:
        spec: what to train.
        devices: numbers of the CUDA devices; or how many processes of a CPU, for tests.
        divide: see `EngineSettings.divide`.

    Returns:
        What `proxy.json` holds.

    Raises:
        ProxyError: as `train.train_proxy`; or a step has fewer windows than there are devices, or a number that they
            cannot share where the model is divided; or a process died.
    """
    number = devices if isinstance(devices, int) else len(devices)
    windows = spec.training.windows_per_step
    if divide is None:
        divide = not isinstance(devices, int) and not _fits(spec, devices)
    if windows < number or (divide and windows % number):
        problem = f"cannot be shared by the {number} devices that a model is divided among"
        raise ProxyError(
            f"a step of {windows} windows " + (problem if divide else f"is not enough for {number} devices"),
            where=where_of(spec),
            remedy=f"lower proxies.engine.gpus_per_model to {shares(windows, number) if divide else windows}",
        )
    if spec.start is not None and not spec.is_finished:
        train_in_parallel(spec.start, devices, divide)
    spec.lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(spec.lock), tempfile.TemporaryDirectory(prefix="regmix-parallel-") as folder:
        if spec.is_finished:
            return read_json(spec.output / "proxy.json")
        job, answer = Path(folder, "job.json"), Path(folder, "answer.json")
        write_json(
            job, {"spec": spec.model_dump(mode="json"), "answer": str(answer), "processes": number, "divide": divide}
        )
        visible = {} if isinstance(devices, int) else {"CUDA_VISIBLE_DEVICES": _visible(devices)}
        environment = os.environ | visible | {"PYTHONPATH": module_search()}
        code = subprocess.call(
            command("regmix_pipeline.proxies.workers.parallel", str(job)), env=environment, stdin=subprocess.DEVNULL
        )
        if answer.is_file():
            raise error_from_payload(read_json(answer), ProxyError, where_of(spec))
        if code or not spec.is_finished:
            raise ProxyError(
                f"the process that trains it on {number} devices {how_it_ended(code)}",
                where=where_of(spec),
                remedy="its log is above; run again: it continues from its last snapshot",
            )
        return read_json(spec.output / "proxy.json")


def _fits(spec: ProxySpec, devices: list[int]) -> bool:
    """Whether each of these CUDA devices holds the whole model."""
    room = min(torch.cuda.get_device_properties(number).total_memory for number in devices)
    return whole_fits(spec.model, spec.vocabulary, spec.training.windows_per_step, len(devices), room)


def _visible(devices: list[int]) -> str:
    """Of the devices that this process sees, those of these numbers."""
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = known.split(",") if known else [str(number) for number in range(torch.cuda.device_count())]
    return ",".join(names[number] for number in devices)


def main() -> None:
    """Start a process for each device; or, started by torchrun, be one of them."""
    libc = ctypes.CDLL(None)
    if "LOCAL_RANK" not in os.environ:
        libc.prctl(_DIES_WITH_PARENT, signal.SIGTERM)  # torchrun then ends its processes
        number = json.loads(Path(sys.argv[1]).read_text())["processes"]
        module = ["-m", "regmix_pipeline.proxies.workers.parallel", sys.argv[1]]
        torchrun.main(["--standalone", "--nproc-per-node", str(number), *module])
        return
    libc.prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    job = json.loads(Path(sys.argv[1]).read_text())
    kind: type[DividedLoop] | type[ParallelLoop] = ParallelLoop
    if job["divide"]:
        from regmix_pipeline.proxies.divided import DividedLoop  # here: PyTorch's FSDP takes a second to import

        kind = DividedLoop
    _process(ProxySpec.model_validate(job["spec"]), Path(job["answer"]), kind)


def _process(spec: ProxySpec, answer: Path, kind: type[DividedLoop] | type[ParallelLoop]) -> None:
    prepare_torch()
    cuda = spec.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        if distributed.get_rank() == 0:
            _first(spec, device, kind)
        else:
            kind(spec, device).follow()
    except Exception as error:
        # What befalls all of them alike is said once.
        if distributed.get_rank() == 0:
            write_json(answer, explained(error, where_of(spec)).payload)
        raise SystemExit(1) from error
    distributed.destroy_process_group()


def _first(spec: ProxySpec, device: torch.device, kind: type[DividedLoop] | type[ParallelLoop]) -> None:
    run = TrainingRun(spec, device, to_stderr, loop=kind)
    if isinstance(run.trainer, ParallelLoop):
        run.trainer.agree()
    with starting_again_after_errors(spec):
        while run.goes_on:
            run.trainer.step()
            run.after_step()
    run.finished()
    if kind is not ParallelLoop:
        cast("DividedLoop", run.trainer).end()


if __name__ == "__main__":
    main()
