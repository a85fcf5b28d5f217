"""What the daemon would do, by Dagster's own evaluation of the shipped conditions and sensors, on a small study."""

import json
import shutil

import dagster as dg
import pytest

from regmix_pipeline.assets.names import stage_name
from regmix_pipeline.errors import DocumentError, StudyError

DATA = ["documents", "token_shards", "domain_inventory", "text_checks", "mixtures"]
AFTER_SHARDS = {"text_checks": ["None"], "domain_inventory": ["None"]}


def test_a_new_folder_arrives_and_is_taken_in(world):
    world.drop_in("poems")
    assert world.look("new_domains") == (None, "arrived: poems")
    assert "poems" in world.partitions("sources")
    assert world.tick() == {}

    request, _ = world.look("changed_text")
    assert world.asked(request)
    assert world.tick() == {"token_shards": ["poems"]}
    assert world.tick() == {}
    assert world.run("token_shards", keys=["poems"])
    assert world.tick() == AFTER_SHARDS
    assert world.run("text_checks")
    assert world.run("domain_inventory")
    assert world.tick() == {"mixtures": ["None"]}
    assert world.run("mixtures")
    assert world.tick() == {}
    assert world.look("changed_text") == (None, "no text changed in 4 sources")

    assert world.workspace().domains == ["code", "licences", "poems"]
    shown = world.facts("token_shards", "poems")
    assert (shown["what changed"], shown["reused"]) == ("new", False)
    shown = world.facts("mixtures")
    assert (shown["domains arrived"], shown["domains went"]) == ("poems", "none")
    assert shown["mixtures kept"] > 0
    assert shown["proxies to train"] == shown["mixtures new"] > 0
    assert shown["tokens they ask"] == shown["mixtures new"] * 16_384
    assert "proxy_checkpoints" in shown["stale now"]
    assert set(world.partitions("mixtures")) >= {
        entry["id"] for entry in world.workspace().json("mixtures")["mixtures"]
    }


def test_a_new_entry_in_the_study_file_arrives_as_well(world):
    domains = {name: {"source": {"jsonl": f"text/{name}.jsonl"}} for name in ("code", "licences", "descriptions")}
    world.change_study(domains=domains)
    assert world.look("new_domains") == (None, "arrived: descriptions")
    assert world.settle() == DATA
    assert world.settle() == []


def test_changed_text_is_followed_and_a_touched_file_is_not(world):
    path = world.folder / "text" / "licences.jsonl"
    line = json.dumps({"id": "new", "text": "A licence that nobody has read before. " * 20}) + "\n"
    world.write(path, path.read_bytes() + line.encode())
    request, _ = world.look("changed_text")
    assert request.tags["regmix/why"] == "documents: licences (files changed)"
    assert world.asked(request)
    assert world.tick() == {"token_shards": ["licences"]}
    assert world.run("token_shards", keys=["licences"])
    assert world.settle() == ["domain_inventory", "text_checks", "mixtures"]

    path = world.folder / "text" / "code.jsonl"
    world.write(path, path.read_bytes())
    assert world.look("changed_text")[0] is not None
    assert world.settle() == ["documents"]


def test_a_domain_that_went_is_noticed(arrived_world):
    world = arrived_world
    shutil.rmtree(world.inbox / "poems")
    assert world.look("new_domains") == (None, "removed: poems")
    assert "poems" not in world.partitions("sources")
    assert world.tick() == AFTER_SHARDS
    assert world.run("text_checks")
    assert world.run("domain_inventory")
    assert world.tick() == {"mixtures": ["None"]}
    assert world.run("mixtures")
    assert world.tick() == {}
    assert world.workspace().domains == ["code", "licences"]
    parts = [set(entry["parts"]) for entry in world.workspace().json("mixtures")["mixtures"]]
    assert all("poems" not in names for names in parts)
    assert world.facts("mixtures")["domains went"] == "poems"


def test_folders_that_cannot_be_domains_are_named_and_the_others_taken(world):
    world.drop_in("My Poems")
    world.drop_in("code")
    world.drop_in(".hidden")
    (world.inbox / "empty").mkdir()
    (world.inbox / "pictures").mkdir()
    (world.inbox / "pictures" / "a.png").write_bytes(b"not text")
    world.drop_in("good")
    _, reason = world.look("new_domains")
    assert reason.startswith("arrived: good; ")
    assert "My Poems: not taken: 'My Poems' is not a safe name" in reason
    assert "'my_poems'" in reason
    assert "code: not taken: the study file has a source of this name" in reason
    assert "empty: is empty" in reason
    assert "pictures: holds no *.jsonl, but a.png" in reason
    assert "hidden" not in reason
    _, reason = world.look("new_domains")
    assert reason.startswith("no domain came or went; ")
    assert "my_poems" in reason


def test_a_folder_that_is_still_being_copied_waits_and_one_that_is_replaced_is_not_lost(world):
    world.change_study(refit={"settle_seconds": 1000})
    world.drop_in("poems")
    for _ in range(2):
        request, reason = world.look("new_domains")
        assert request is None
        assert "poems: changed" in reason
        assert "counts after 1000 s" in reason
    world.change_study(refit={"settle_seconds": 0})
    assert world.look("new_domains")[1] == "arrived: poems"
    world.change_study(refit={"settle_seconds": 1000})
    shutil.rmtree(world.inbox / "poems")
    assert "withdrawn after 1000 s" in world.look("new_domains")[1]
    assert world.workspace().domains == ["code", "licences", "poems"]


def test_an_address_out_of_reach_withdraws_nothing(arrived_world):
    world = arrived_world
    world.inbox.rename(world.folder / "elsewhere")
    with pytest.raises(DocumentError, match="the watched folder does not exist"):
        world.look("new_domains")
    assert "poems" in world.workspace().domains
    assert "poems" in world.partitions("sources")


def test_a_broken_study_file_is_said_at_every_look(world):
    (world.folder / "tiny.yaml").write_text("domains: {code: {}}\n")
    for name in ("new_domains", "changed_text", "proxies_within_budget"):
        with pytest.raises(StudyError, match=r"tiny\.yaml"):
            world.look(name)


def test_while_a_run_is_at_work_new_domains_wait_for_its_end(world):
    world.drop_in("poems")
    with world.workspace()._exclusive_lock():
        _, reason = world.look("new_domains")
        assert "once the current run has ended" in reason
        assert world.workspace().domains == ["code", "licences"]
    assert world.look("new_domains")[1] == "arrived: poems"


def test_a_failed_run_is_tried_once_more_and_then_left_until_something_changes(world):
    world.drop_in("poems")
    path = world.inbox / "poems" / "a.jsonl"
    whole = path.read_bytes()
    world.write(path, whole + b'{"text": "half')
    world.look("new_domains")
    assert world.asked(world.look("changed_text")[0])
    for _ in range(2):
        assert world.tick() == {"token_shards": ["poems"]}
        assert not world.run("token_shards", keys=["poems"])
    assert [world.tick() for _ in range(3)] == [{}] * 3

    world.write(path, whole)
    assert world.asked(world.look("changed_text")[0])
    assert world.tick() == {"token_shards": ["poems"]}
    assert world.run("token_shards", keys=["poems"])


def test_what_changes_while_a_run_is_going_is_kept_for_the_next(world):
    world.drop_in("poems")
    world.look("new_domains")
    assert world.asked(world.look("changed_text")[0])
    going = world.start("domain_inventory")
    assert world.tick() == {"token_shards": ["poems"]}
    assert world.run("token_shards", keys=["poems"])
    assert [world.tick() for _ in range(2)] == [{"text_checks": ["None"]}, {}]
    world.instance.report_run_canceled(world.instance.get_run_by_id(going))
    assert world.tick() == {"domain_inventory": ["None"]}


def test_observations_are_asked_for_once_at_a_time_and_at_most_twice(world):
    path = world.folder / "text" / "licences.jsonl"
    world.write(path, path.read_bytes() + b'{"text": "one more"}\n')
    assert world.look("changed_text")[0] is not None
    going = world.start("documents")
    request, reason = world.look("changed_text")
    assert request is None
    assert f"run {going[:8]} is already running" in reason
    world.instance.report_run_canceled(world.instance.get_run_by_id(going))
    assert world.look("changed_text")[0] is not None
    request, reason = world.look("changed_text")
    assert request is None
    assert "requested 2 times without success" in reason


def test_only_data_follows_by_itself():
    from regmix_pipeline.definitions import defs

    graph = defs.resolve_asset_graph()
    conditioned = {stage_name(node.key) for node in graph.asset_nodes if node.automation_condition}
    assert conditioned == {"tokenizer", "token_shards", "text_checks", "domain_inventory", "mixtures"}
    assert {sensor.name for sensor in defs.sensors} == {
        "new_domains",
        "changed_text",
        "proxies_within_budget",
        "staleness",
        "automation",
        "run_failures",
    }
    stopped = {sensor.name for sensor in defs.sensors if sensor.default_status is dg.DefaultSensorStatus.STOPPED}
    # Nobody said where alerts go to.
    assert stopped == {"run_failures"}
