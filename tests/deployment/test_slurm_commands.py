"""Commands of the user's own as jobs of a real Slurm of one node."""

import re
import subprocess
import sys
import textwrap
import time

import pytest

from regmix_pipeline.files import write_json
from regmix_pipeline.proxies.commands.executor import CommandExecutor
from regmix_pipeline.proxies.commands.inputs import run_folder
from regmix_pipeline.proxies.commands.run import LOG
from regmix_pipeline.proxies.commands.trainer import Trainer
from regmix_pipeline.proxies.spec import ProxySpec, TargetFile, TokenFile
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings
from regmix_pipeline.study.settings.trainer import TrainerSettings
from regmix_pipeline.study.settings.workers import EngineSettings

REPORT = """
import json, sys
from pathlib import Path
asked, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
tokens = {domain: data["tokens"] for domain, data in asked["domains"].items()}
(out / "losses.json").write_text(json.dumps({"losses": {"code": 2.0}, "step": 1, "tokens": tokens}))
"""


@pytest.fixture
def place(tmp_path, slurm, monkeypatch):
    """A folder; this process submits jobs to the cluster."""
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("PATH", slurm.environment["PATH"])
    (tmp_path / "report.py").write_text(REPORT)
    return tmp_path


@pytest.fixture
def spec_of(place):
    """Make a spec whose command says what it runs on, does something, and reports: ``spec_of("sleep 1", seed=2)``."""
    path = place / "tokens.ds"
    path.write_bytes(bytes(2 * 4096))
    file = TokenFile(path=path, dtype="uint16", tokens=4096, version="v")
    target = TargetFile(**file.model_dump(), bytes=9000)

    def make(does="true", seed=1, **settings):
        command = f"echo job $SLURM_JOB_ID; {does}; {sys.executable} report.py {{mixture_file}} {{out}}"
        made = TrainerSettings.model_validate({"command": command, "retries": 0} | settings)
        return ProxySpec(
            mixture={"code": 1_000_000},
            model=ModelSettings(context=16, width=16, heads=2, ffn_width=16),
            vocabulary=9,
            training=TrainingSettings(tokens=1024, windows_per_step=1, warmup_steps=1),
            seed=seed,
            shards={"code": file},
            targets={"code": target},
            trainer=Trainer(settings=made, contents={}, base=place),
            folder=place / "proxies",
        )

    return make


def run(specs, **options):
    engine = EngineSettings(kind="slurm", sbatch_args={"mem": "100", **options})
    return {result.task.id: result for result in CommandExecutor(engine, 4, lambda: None, lambda line: None).run(specs)}


def test_each_proxy_is_a_job(spec_of, slurm):
    specs = [spec_of(seed=seed) for seed in range(3)]
    found = run(specs, partition="all")
    assert all(result.error is None for result in found.values()), found
    jobs = {re.search(r"job (\d+)", (run_folder(spec) / LOG).read_text())[1] for spec in specs}
    assert len(jobs) == 3
    # A job that has ended is in the queue for another moment.
    slurm.until(lambda: "regmix-" not in slurm.told("squeue", "-h", "-o", "%j"))


def test_jobs_that_fail_or_are_refused_are_named(spec_of):
    failing = spec_of("exit 5")
    error = run([failing])[failing.id].error
    assert error.problem.startswith("the command ended with status 5")
    assert str(run_folder(failing) / LOG) in error.where
    refused = spec_of(seed=2)
    error = run([refused], partition="nowhere")[refused.id].error
    assert re.search("cannot be submitted: .*invalid partition", error.problem)
    assert "sbatch_args" in error.remedy


def test_a_job_that_slurm_ends_is_named(spec_of, slurm):
    spec = spec_of("scancel $SLURM_JOB_ID; sleep 100")
    error = run([spec])[spec.id].error
    # The job may still have said that it was terminated.
    assert re.search("ended without a status|ended with status 143", error.problem)


DRIVER = textwrap.dedent(
    """
    import json, sys
    from regmix_pipeline.proxies.commands.executor import CommandExecutor
    from regmix_pipeline.proxies.spec import ProxySpec
    from regmix_pipeline.study.settings.workers import EngineSettings

    specs = [ProxySpec.model_validate(each) for each in json.load(open(sys.argv[1]))]
    engine = EngineSettings(kind="slurm", sbatch_args={"mem": "100"})
    list(CommandExecutor(engine, 4, lambda: None).run(specs))
    """
)


def started(slurm, spec):
    """Whether a proxy's job is running."""
    return spec.id in slurm.told("squeue", "-h", "-t", "R", "-o", "%j")


def begun(place, specs):
    """A run in a group of processes of its own."""
    write_json(place / "specs.json", [spec.model_dump(mode="json") for spec in specs])
    command = [sys.executable, "-c", DRIVER, str(place / "specs.json")]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


def test_a_run_that_ends_takes_its_jobs_along(place, spec_of, slurm):
    spec = spec_of("sleep 100")
    process = begun(place, [spec])
    try:
        slurm.until(lambda: started(slurm, spec))
    finally:
        process.kill()
        process.wait()
    slurm.until(lambda: spec.id not in slurm.told("squeue", "-h", "-o", "%j"))


def test_jobs_that_outlive_a_killed_run_are_taken_up(place, spec_of, slurm):
    import os
    import signal

    gate = place / "gate"
    spec = spec_of(f"while ! test -e {gate}; do sleep 0.2; done")
    process = begun(place, [spec])
    try:
        slurm.until(lambda: started(slurm, spec))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    time.sleep(2)
    assert started(slurm, spec)
    again = begun(place, [spec])
    time.sleep(3)
    gate.touch()
    assert again.wait(120) == 0
    assert spec.is_finished
    assert len(re.findall(r"^job \d+", (run_folder(spec) / LOG).read_text(), re.MULTILINE)) == 1
