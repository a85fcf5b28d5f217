"""Slurm's own commands, for whoever has jobs there: submit one, see which are left, cancel them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SILENCE = 600.0
"""Seconds for which Slurm's queue may give no answer."""


def outside_of_jobs() -> dict[str, str]:
    """This process's environment without Slurm's own variables: within a job they would be taken for those of the jobs
    that are submitted."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}


def submit(script: Path, options: Mapping[str, str]) -> str:
    """Submit a job; returns its id.

    Args:
        script: what it runs.
        options: of sbatch, by their long names.

    Raises:
        OSError: there is no sbatch, or it refuses the job; the message says what it said.
    """
    words = [f"--{name}={value}" for name, value in options.items()]
    asked = subprocess.run(
        ["sbatch", "--parsable", *words, str(script)], capture_output=True, text=True, env=outside_of_jobs()
    )
    if asked.returncode:
        raise OSError(" ".join(asked.stderr.split()) or f"sbatch ended with status {asked.returncode}")
    return asked.stdout.strip().split(";")[0]


def jobs(names: Sequence[str]) -> dict[str, str] | None:
    """Name -> state of the jobs of these names that have not ended; None where Slurm does not answer."""
    try:
        asked = subprocess.run(
            ["squeue", "--noheader", f"--name={','.join(names)}", "--format=%j %T"], capture_output=True, text=True
        )
    except OSError:
        return None
    if asked.returncode:
        return None
    return dict(line.split()[:2] for line in asked.stdout.splitlines() if line.strip())


def cancel(names: Sequence[str]) -> None:
    """Cancel the jobs of these names. Raises OSError where there is no Slurm."""
    for name in names:
        subprocess.run(["scancel", f"--name={name}"], capture_output=True)
