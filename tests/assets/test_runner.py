"""The runner of the command line: what a killed run recorded and did not tell Dagster is told by the next."""

import dagster as dg
import pytest

from assets.runner import RunFailedError, run_stale
from regmix_pipeline.errors import ProxyError
from regmix_pipeline.lab import Lab
from regmix_pipeline.mixtures.stage import MIXTURES
from regmix_pipeline.proxies import stage
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.proxies.trainer import Result
from regmix_pipeline.stages import up_to


def test_partitions_that_dagster_was_not_told_of_are_told_by_the_next_run_and_not_made_again(world):
    losses = world.key(PROXY_LOSSES)
    keys = sorted(world.instance.get_materialized_partitions(losses))
    assert len(keys) > 2
    before = {key: world.lab().need(PROXY_LOSSES.name, key) for key in keys}
    # What it looks like when a run is killed between recording two partitions and telling of them.
    untold = [keys[0], keys[2]]
    world.instance.wipe_assets([losses])
    for key in set(keys) - set(untold):
        world.instance.report_runless_asset_event(dg.AssetMaterialization(losses, partition=key))

    said = []
    lab = Lab(world.folder / "tiny.yaml", world.folder / "home", say=said.append)
    (done,) = run_stale(lab, [PROXY_LOSSES])
    assert done.stale == {}
    assert any("made before, and told now: " + ", ".join(untold) in line for line in said)
    assert sorted(world.instance.get_materialized_partitions(losses)) == keys
    assert {key: world.lab().need(PROXY_LOSSES.name, key) for key in keys} == before
    events = world.instance.fetch_materializations(dg.AssetRecordsFilter(losses), limit=50).records
    run = events[0].run_id
    assert sorted(event.partition_key for event in events if event.run_id == run) == untold

    said.clear()
    run_stale(lab, [PROXY_LOSSES])
    assert said == ["[1/1] proxy_losses: up to date"]


class NoMemory:
    """A trainer whose every task fails, as on a machine that is too small."""

    def run(self, tasks):
        for task in tasks:
            yield Result(task, {}, error=ProxyError("out of memory", where=task.id, remedy="lower proxies.workers"))


def test_when_every_proxy_fails_the_cause_is_named(study_file, tmp_path, monkeypatch):
    lab = Lab(study_file, tmp_path / "home", say=lambda line: None)
    run_stale(lab, up_to(MIXTURES))
    monkeypatch.setattr(stage, "trainer_of", lambda lab: NoMemory())
    with pytest.raises(RunFailedError, match="out of memory") as caught:
        run_stale(lab, [PROXY_CHECKPOINTS])
    assert "no proxy is recorded" not in str(caught.value)
