"""Where a command runs: as a process of this machine, or as a job of Slurm."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Protocol

from regmix_pipeline import slurm
from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import fingerprint, written_atomically
from regmix_pipeline.processes import how_it_ended

GRACE = 3.0
"""Seconds that a command has to end by itself once it is asked to."""
LATE = 15.0
"""Seconds that a job's last file may take to be seen here, over a shared disk."""
STATUS = "status.txt"
_SCRIPT = """\
#!/bin/sh
(
{command}
)
code=$?
echo $code > {status}.new
mv {status}.new {status}
exit $code
"""


@dataclass
class Order:
    """A command to run for a proxy.

    Attributes:
        command: for /bin/sh.
        base: the folder to run it in.
        out: the proxy's folder.
        log: takes what it prints; appended to.
        lock: descriptor of the proxy's lock, which a process of this machine keeps open until all of it has ended.
    """

    command: str
    base: Path
    out: Path
    log: Path
    lock: int


class Place(Protocol):
    """Where commands run."""

    pause: float
    """Seconds between two looks."""

    def start(self, order: Order) -> None:
        """Start a command, or take up its job where one is left of an earlier run."""
        ...

    def look(self) -> None:
        """See how all commands are."""
        ...

    def works(self, order: Order) -> bool:
        """Whether it is at work, and not only queued."""
        ...

    def ended(self, order: Order) -> str | None:
        """None while it has not ended; "" for success; else how it failed, after "the command"."""
        ...

    def stop(self, *orders: Order) -> None:
        """End commands."""
        ...


@dataclass
class Here(Place):
    """Processes of this machine, each in a group of its own."""

    pause: float = 0.2
    processes: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, order: Order) -> None:
        """Start it. Its descendants hold the proxy's lock: a later run waits for those that a kill has left."""
        with order.log.open("ab") as log:
            self.processes[order.out] = subprocess.Popen(
                ["/bin/sh", "-c", order.command],
                cwd=order.base,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[order.lock],
            )

    def look(self) -> None:
        """Nothing: `ended` asks each process."""

    def works(self, order: Order) -> bool:
        """Always."""
        return True

    def ended(self, order: Order) -> str | None:
        """By its status. What it has left behind in its group is ended with it."""
        code = self.processes[order.out].poll()
        if code is None:
            return None
        self.stop(order)
        return how_it_ended(code) if code else ""

    def stop(self, *orders: Order) -> None:
        """Tell their groups to end, and kill what has not ended soon."""
        processes = [self.processes.pop(order.out) for order in orders]
        _signal(processes, signal.SIGTERM)
        until = time.monotonic() + GRACE
        while time.monotonic() < until and any(process.poll() is None for process in processes):
            time.sleep(0.05)
        _signal(processes, signal.SIGKILL)
        for process in processes:
            process.wait()


def _signal(processes: Iterable[subprocess.Popen[bytes]], number: int) -> None:
    """To the whole groups."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


@dataclass
class OnSlurm(Place):
    """A job for each command. A job outlives this machine's processes; a later run takes it up by its name."""

    options: Mapping[str, str]
    pause: float = 2.0
    names: dict[Path, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    gone: dict[Path, float] = field(default_factory=dict)
    heard: float = field(default_factory=time.monotonic)

    def start(self, order: Order) -> None:
        """Submit it, unless it is there.

        Raises:
            ProxyError: Slurm is not there, or refuses the job.
        """
        name = f"regmix-{order.out.name}-{fingerprint(str(order.out))[:8]}"
        self.names[order.out] = name
        left = slurm.jobs([name])
        if left:
            self.states |= left
            return
        self._status(order).unlink(missing_ok=True)
        script = order.out / "job.sh"
        with written_atomically(script) as temporary:
            temporary.write_text(
                _SCRIPT.format(command=order.command, status=quote(str(self._status(order)))), encoding="utf-8"
            )
        own = {"job-name": name, "output": str(order.log), "open-mode": "append", "chdir": str(order.base)}
        try:
            slurm.submit(script, {**self.options, **own})
        except OSError as error:
            raise ProxyError(
                f"the job cannot be submitted: {error}",
                where="proxies.engine",
                remedy="run on a machine that submits Slurm jobs, and check proxies.engine.sbatch_args",
            ) from error
        self.states[name] = "PENDING"

    def look(self) -> None:
        """Ask Slurm's queue once for all jobs.

        Raises:
            ProxyError: it has given no answer for long.
        """
        if not self.names:
            return
        found = slurm.jobs(list(self.names.values()))
        if found is not None:
            self.states, self.heard = found, time.monotonic()
        elif time.monotonic() - self.heard > slurm.SILENCE:
            raise ProxyError("squeue gives no answer", where="proxies.engine", remedy="run again: jobs are taken up")

    def works(self, order: Order) -> bool:
        """Whether its job is running."""
        return self.states.get(self.names[order.out]) == "RUNNING"

    def ended(self, order: Order) -> str | None:
        """By the status that its job leaves behind; without one it was killed."""
        if self.names[order.out] in self.states:
            return None
        status = self._status(order)
        os.listdir(order.out)  # a shared disk shows what is new once its folder is read
        if not status.is_file() and time.monotonic() - self.gone.setdefault(order.out, time.monotonic()) < LATE:
            return None
        self.names.pop(order.out)
        self.gone.pop(order.out, None)
        if not status.is_file():
            return "ended without a status: its job was cancelled, ran out of time or memory, or its node failed"
        code = status.read_text(encoding="utf-8").strip()
        return "" if code == "0" else f"ended with status {code}"

    def stop(self, *orders: Order) -> None:
        """Cancel their jobs."""
        names = [self.names.pop(order.out) for order in orders]
        for name in names:
            self.states.pop(name, None)
        with contextlib.suppress(OSError):
            slurm.cancel(names)

    def _status(self, order: Order) -> Path:
        return order.out / STATUS
