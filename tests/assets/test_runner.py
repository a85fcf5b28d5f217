"""The runner of the command line: what a killed run recorded and did not tell Dagster is told by the next."""

import dagster as dg

from assets.runner import run_stale
from regmix_pipeline.lab import Lab
from regmix_pipeline.proxies.stage import PROXY_LOSSES

LOSSES = dg.AssetKey(PROXY_LOSSES.name)


def test_partitions_that_dagster_was_not_told_of_are_told_by_the_next_run_and_not_made_again(world):
    keys = sorted(world.instance.get_materialized_partitions(LOSSES))
    assert len(keys) > 2
    before = {key: world.lab().need(PROXY_LOSSES.name, key) for key in keys}
    # What it looks like when a run is killed between recording two partitions and telling of them.
    untold = [keys[0], keys[2]]
    world.instance.wipe_assets([LOSSES])
    for key in set(keys) - set(untold):
        world.instance.report_runless_asset_event(dg.AssetMaterialization(LOSSES, partition=key))

    said = []
    lab = Lab(world.folder / "tiny.yaml", world.folder / "home", say=said.append)
    (done,) = run_stale(lab, [PROXY_LOSSES])
    assert done.stale == {}
    assert any("made before, and told now: " + ", ".join(untold) in line for line in said)
    assert sorted(world.instance.get_materialized_partitions(LOSSES)) == keys
    assert {key: world.lab().need(PROXY_LOSSES.name, key) for key in keys} == before
    events = world.instance.fetch_materializations(dg.AssetRecordsFilter(LOSSES), limit=50).records
    run = events[0].run_id
    assert sorted(event.partition_key for event in events if event.run_id == run) == untold

    said.clear()
    run_stale(lab, [PROXY_LOSSES])
    assert said == ["[1/1] proxy_losses: up to date"]
