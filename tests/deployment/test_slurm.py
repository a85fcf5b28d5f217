"""Slices as an array job of a real Slurm on this machine."""

import subprocess
import sys
from pathlib import Path

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.stage import MIXTURES
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS
from regmix_pipeline.proxies.workers.slices import specs_to_train
from regmix_pipeline.stages import up_to

ROOT = Path(__file__).parents[2]


def test_an_array_of_three_tasks_trains_all_proxies_and_the_run_takes_them_up(slurm, study_file):
    home = study_file.parent / "home"

    def workspace():
        return Workspace(study_file, home, say=lambda line: None)

    run_stale(workspace(), up_to(MIXTURES))
    wanted = specs_to_train(workspace())
    script = study_file.parent / "slices.sh"
    script.write_text(
        f"#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m regmix_pipeline.cli train --slice $SLURM_ARRAY_TASK_ID/3 "
        f"--study {study_file} --home {home} --workers 1\n"
    )
    command = [
        "sbatch",
        "--parsable",
        "--array=1-3",
        "--cpus-per-task=1",
        f"--output={study_file.parent}/%a.txt",
        str(script),
    ]
    asked = subprocess.run(command, env=slurm.environment, capture_output=True, text=True, check=True)
    job = asked.stdout.strip()
    slurm.until(lambda: not slurm.told("squeue", "-h", "-j", job).strip(), 400)
    said = [(study_file.parent / f"{number}.txt").read_text() for number in (1, 2, 3)]
    assert all(", 0 were there, 0 failed" in text for text in said), said
    assert all(spec.is_finished for spec in wanted)
    (made,) = run_stale(workspace(), [PROXY_CHECKPOINTS])
    assert len(made.stale) == len(workspace().json("mixtures")["mixtures"])
    trained = {path.parent.name for path in home.glob("proxies/p*/proxy.json")}
    assert trained == {spec.id for spec in wanted}
