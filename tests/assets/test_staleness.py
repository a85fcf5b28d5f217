"""What the UI shows of staleness: an answer for every asset, an observation for every stale partition, each once."""

import shutil

import dagster as dg

from regmix_pipeline.assets.names import stage_name
from regmix_pipeline.assets.up_to_date import NAME, STALE, stale_assets
from regmix_pipeline.stages import STAGES


def news(world):
    """What one look says, put into Dagster's events as the daemon does: (answers by asset, observations)."""
    _, events = stale_assets(world.instance, world.workspace())
    for event in events:
        world.instance.report_runless_asset_event(event)
    answers = [event for event in events if isinstance(event, dg.AssetCheckEvaluation)]
    return (
        {stage_name(event.asset_key): event.description for event in answers},
        [event for event in events if isinstance(event, dg.AssetObservation)],
    )


def last_answer(world, asset):
    key = dg.AssetCheckKey(world.key(asset), NAME)
    return world.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0].evaluation


def test_what_becomes_stale_is_said_once_with_its_reason_and_taken_back_when_it_is_made(world):
    news(world)
    assert {stage.name: last_answer(world, stage.name).passed for stage in STAGES} == dict.fromkeys(
        (stage.name for stage in STAGES), True
    )
    assert news(world) == ({}, [])

    keys = world.workspace().records.keys("proxy_checkpoints")[:2]
    for key in keys:
        folder = world.workspace().artefact("proxy_checkpoints", key).parent
        shutil.move(folder, folder.with_name(f"{folder.name}.away"))
    answers, seen = news(world)
    assert answers["proxy_checkpoints"].startswith(
        f"2 of {len(world.workspace().records.keys('proxy_checkpoints'))} stale: "
    )
    assert answers["mixture_report"] == "made from what is stale now: proxy_checkpoints"
    assert not {"documents", "token_shards", "mixtures"} & set(answers)
    assert {(event.partition, event.tags[STALE]) for event in seen} == {(key, "yes") for key in keys}
    assert all(event.description.endswith("is missing") for event in seen)
    assert last_answer(world, "proxy_checkpoints").severity is dg.AssetCheckSeverity.WARN
    assert news(world) == ({}, [])

    # One is made again: the run says so itself, and the look has the rest to say. The other one comes back by itself.
    assert world.run("proxy_checkpoints", keys=keys[:1])
    assert last_answer(world, "proxy_checkpoints").description.startswith("1 of ")
    assert news(world) == ({}, [])
    folder = world.workspace().home / world.workspace().need("proxy_checkpoints", keys[1]).files[0]
    shutil.move(folder.parent.with_name(f"{folder.parent.name}.away"), folder.parent)
    answers, seen = news(world)
    assert set(answers.values()) == {"up to date"}
    assert {(event.partition, event.tags[STALE]) for event in seen} == {(keys[1], "no")}
    assert news(world) == ({}, [])


def test_a_step_behind_partitions_that_were_all_reused_is_not_skipped(world):
    keys = world.partitions("mixtures")
    before = {asset: last_run(world, asset) for asset in ("proxy_checkpoints", "proxy_losses")}
    assert world.run("proxy_checkpoints", "proxy_losses", keys=keys)
    assert {asset: last_run(world, asset) != run for asset, run in before.items()} == dict.fromkeys(before, True)
    told = world.instance.fetch_materializations(dg.AssetRecordsFilter(world.key("proxy_losses")), limit=100).records
    run = last_run(world, "proxy_losses")
    assert sorted(event.partition_key for event in told if event.run_id == run) == sorted(keys)


def test_mixtures_and_partitions_become_the_same_again(world):
    keys, name = world.partitions("mixtures"), world.names.mixtures.name
    world.instance.delete_dynamic_partition(name, keys[3])
    world.instance.add_dynamic_partitions(name, ["m000000000000"])
    going = world.start_backfill("proxy_losses", name="going")
    world.look("staleness")
    # Dagster fails a backfill whose partitions are taken away.
    assert set(world.partitions("mixtures")) == {*keys, "m000000000000"}
    world.end_backfill(going)
    world.look("staleness")
    assert set(world.partitions("mixtures")) == set(keys)
    world.workspace().artefact("mixtures").unlink()
    world.look("staleness")
    assert set(world.partitions("mixtures")) == set(keys)


def last_run(world, asset):
    return world.instance.get_latest_materialization_event(world.key(asset)).run_id
