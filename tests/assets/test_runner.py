"""The runner of the command line: what a killed run recorded and did not report to Dagster is reported by the next."""

import dagster as dg
import pytest

from regmix_pipeline.assets.runner import RunFailedError, run_stale
from regmix_pipeline.assets.triggers import FORCE
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.engine.reasons import Kind
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import ProxyError
from regmix_pipeline.mixtures.stage import MIXTURES
from regmix_pipeline.proxies import stage
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.proxies.workers.local import Result
from regmix_pipeline.search.stage import OPTIMAL_MIXTURE
from regmix_pipeline.stages import up_to


def test_partitions_that_dagster_does_not_know_are_reported_by_the_next_run_and_not_made_again(world):
    losses = world.key(PROXY_LOSSES)
    keys = sorted(world.instance.get_materialized_partitions(losses))
    assert len(keys) > 2
    before = {key: world.workspace().need(PROXY_LOSSES.name, key) for key in keys}
    # What it looks like when a run is killed between recording two partitions and telling of them.
    unreported = [keys[0], keys[2]]
    world.instance.wipe_assets([losses])
    for key in set(keys) - set(unreported):
        world.instance.report_runless_asset_event(dg.AssetMaterialization(losses, partition=key))

    said = []
    workspace = Workspace(world.folder / "tiny.yaml", world.folder / "home", say=said.append)
    (done,) = run_stale(workspace, [PROXY_LOSSES])
    assert done.stale == {}
    assert any("recorded earlier, reported to Dagster now: " + ", ".join(unreported) in line for line in said)
    assert sorted(world.instance.get_materialized_partitions(losses)) == keys
    assert {key: world.workspace().need(PROXY_LOSSES.name, key) for key in keys} == before
    events = world.instance.fetch_materializations(dg.AssetRecordsFilter(losses), limit=50).records
    run = events[0].run_id
    assert sorted(event.partition_key for event in events if event.run_id == run) == unreported

    said.clear()
    run_stale(workspace, [PROXY_LOSSES])
    assert said == ["[1/1] proxy_losses: up to date"]


def test_force_computes_what_is_up_to_date_to_the_same_versions(world):
    stages = [PROXY_CHECKPOINTS, PROXY_LOSSES, OPTIMAL_MIXTURE, MIXTURE_DECISION]
    keys = world.workspace().records.keys(PROXY_LOSSES.name)
    before = {(stage.name, key): record for stage in stages for key, record in current(world, stage).items()}
    runs = world.instance.get_runs_count()
    workspace = world.workspace()
    workspace.forced = frozenset(stage.name for stage in stages)
    done = {run.stage: run for run in run_stale(workspace)}
    assert {stage.name for stage in stages} == {name for name, run in done.items() if run.stale}
    assert set(done[PROXY_LOSSES.name].stale) == set(keys)
    assert {reason.kind for run in done.values() for reason in run.stale.values()} == {Kind.FORCED}
    assert world.instance.get_runs_count() == runs + 3  # training, measuring, decision
    after = {(stage.name, key): record for stage in stages for key, record in current(world, stage).items()}
    assert {name: record.version for name, record in after.items()} == {
        name: record.version for name, record in before.items()
    }
    made_again = {name for name, record in after.items() if record.made_at > before[name].made_at}
    assert made_again == set(after)

    assert world.run("optimal_mixture")
    assert world.facts("optimal_mixture")["result"] == "up to date, nothing computed"
    assert world.run("optimal_mixture", tags={FORCE: "yes"})
    assert world.facts("optimal_mixture")["result"] == "computed: forced"


def current(world, stage):
    workspace = world.workspace()
    return {key: workspace.need(stage.name, key) for key in workspace.records.keys(stage.name)}


class NoMemory:
    """A trainer whose every task fails, as on a machine that is too small."""

    def run(self, tasks):
        for task in tasks:
            yield Result(task, {}, error=ProxyError("out of memory", where=task.id, remedy="lower proxies.workers"))


def test_when_every_proxy_fails_the_cause_is_named(study_file, tmp_path, monkeypatch):
    workspace = Workspace(study_file, tmp_path / "home", say=lambda line: None)
    run_stale(workspace, up_to(MIXTURES))
    monkeypatch.setattr(stage, "executor_of", lambda workspace: NoMemory())
    with pytest.raises(RunFailedError, match="out of memory") as caught:
        run_stale(workspace, [PROXY_CHECKPOINTS])
    assert "no proxy is recorded" not in str(caught.value)
    # The same remedy for all is said once.
    assert str(caught.value).count("remedy: ") == str(caught.value).count("lower proxies.workers; then run again") == 1
