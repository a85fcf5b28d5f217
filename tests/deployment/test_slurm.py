"""Slices as an array job of a real Slurm (munge, slurmctld, slurmd) on this machine."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assets.runner import run_stale
from regmix_pipeline.lab import Lab
from regmix_pipeline.mixtures.stage import MIXTURES
from regmix_pipeline.proxies.engine.slices import specs_to_train
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS
from regmix_pipeline.stages import STAGES

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "sacct")
ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster of this machine alone; the environment of its commands."""
    missing = [name for name in NEEDED if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") is None]
    if missing or os.geteuid() != 0:
        pytest.skip("needs root, and Slurm's daemons (Debian: apt-get install slurmctld slurmd munge)")
    folder = tmp_path_factory.mktemp("slurm")
    key, munge = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)
    host = socket.gethostname()
    settings = f"""
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
    file = folder / "slurm.conf"
    file.write_text(settings)
    version = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    (folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/{version}\nCgroupAutomount=no\n")
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    environment = os.environ | {"SLURM_CONF": str(file), "PATH": os.environ["PATH"] + ":/usr/sbin"}
    logs = [f"--{what}-file={folder}/munge.{what}" for what in ("pid", "log", "seed")]
    daemons = [
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}", *logs],
        ["slurmctld", "-D", "-f", str(file)],
        ["slurmd", "-D", "-f", str(file), "-N", host],
    ]
    started = []
    try:
        for command in daemons:
            with (folder / f"{command[0]}.out").open("w") as out:
                started.append(subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT))
            time.sleep(1)
        _until(lambda: "idle" in _told(["sinfo", "-h", "-o", "%T"], environment), folder, 30)
        yield environment
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait()


def _told(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def _until(holds, folder, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return
        time.sleep(0.5)
    logs = "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in folder.glob("*.out"))
    logs += "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in folder.glob("*.log"))
    raise AssertionError(logs)


def test_an_array_of_three_tasks_trains_all_proxies_and_the_run_takes_them_up(slurm, study_file):
    home = study_file.parent / "home"

    def lab():
        return Lab(study_file, home, say=lambda line: None)

    run_stale(lab(), STAGES[: STAGES.index(MIXTURES) + 1])
    wanted = specs_to_train(lab())
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
    asked = subprocess.run(command, env=slurm, capture_output=True, text=True, check=True)
    job = asked.stdout.strip()
    _until(lambda: not _told(["squeue", "-h", "-j", job], slurm).strip(), study_file.parent, 400)
    said = [(study_file.parent / f"{number}.txt").read_text() for number in (1, 2, 3)]
    assert all(", 0 were there, 0 failed" in text for text in said), said
    assert all(spec.is_finished for spec in wanted)
    (made,) = run_stale(lab(), [PROXY_CHECKPOINTS])
    assert len(made.stale) == len(lab().json("mixtures")["mixtures"])
    trained = {path.parent.name for path in home.glob("proxies/p*/proxy.json")}
    assert trained == {spec.id for spec in wanted}
