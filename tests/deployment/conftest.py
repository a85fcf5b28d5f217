"""A real Slurm (munge, slurmctld, slurmd) of one node, on this machine."""

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "sacct")


@dataclass
class Slurm:
    """A cluster: the environment of its commands, and the folder of its logs."""

    environment: dict[str, str]
    folder: Path

    def told(self, *command):
        """What a command prints."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout

    def until(self, holds, seconds=60):
        """Wait; fail with the logs where it does not come true."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if holds():
                return
            time.sleep(0.5)
        logs = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
        raise AssertionError("\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in logs))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster of this machine alone."""
    missing = [name for name in NEEDED if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") is None]
    if missing or os.geteuid() != 0:
        pytest.skip("needs root, and Slurm's daemons (Debian: apt-get install slurmctld slurmd munge)")
    folder = tmp_path_factory.mktemp("slurm")
    key, munge = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    for place in (folder, *folder.parents):
        if not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o055)  # the daemons' users have to get through
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
        made = Slurm(environment, folder)
        made.until(lambda: "idle" in made.told("sinfo", "-h", "-o", "%T"), 30)
        yield made
    finally:
        _stopped(started, environment)


def _stopped(daemons, environment):
    """End the jobs, then the daemons, munged last: a job's step that cannot say that it ended holds slurmd forever."""
    subprocess.run(["scancel", "--user=root", "--signal=KILL"], env=environment, timeout=30, check=False)
    subprocess.run(["scancel", "--user=root"], env=environment, timeout=30, check=False)
    for _ in range(40):
        left = subprocess.run(["squeue", "-h"], env=environment, capture_output=True, timeout=30, check=False).stdout
        if not left.strip():
            break
        time.sleep(0.5)
    for process in reversed(daemons):
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
