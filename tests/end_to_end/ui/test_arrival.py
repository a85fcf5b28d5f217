"""A domain arrives at a running Dagster: seen, tokenised and mixed by itself, trained and decided by a click."""

import shutil

import pytest
import yaml

from regmix_pipeline.assets.schedules import TARGETS
from regmix_pipeline.engine.workspace import Workspace


@pytest.fixture(scope="module")
def place(watched_study, tmp_path_factory):
    """A study with a watched folder, decided once."""
    folder = shutil.copytree(watched_study, tmp_path_factory.mktemp("arrival") / "study")
    file = folder / "tiny.yaml"
    refit = {"cron": "0 3 * * *", "settle_seconds": 2, "look_seconds": 4}
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"refit": refit}, sort_keys=False))
    return folder


def workspace_at(folder):
    return Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None)


@pytest.fixture(scope="module")
def dagster(place, running):
    with running(place) as found:
        yield found


@pytest.mark.timeout(600)
def test_a_folder_arrives_and_ends_in_a_new_decision(place, dagster, until):
    before = workspace_at(place).need("mixture_decision").version
    (place / "inbox" / "Not A Name").mkdir()
    shutil.copy(place / "text" / "licences.jsonl", place / "inbox" / "Not A Name")
    (place / "inbox" / "poems").mkdir()
    shutil.copy(place / "text" / "descriptions.jsonl", place / "inbox" / "poems")

    # By itself: the partition, its shards, the inventory and the mixtures.
    until(lambda: "poems" in dagster.asset("token_shards")["partitionKeys"], "the partition is registered")
    until(
        lambda: "poems" in dagster.asset("token_shards")["assetPartitionStatuses"]["materializedPartitions"],
        "the shards are made",
    )
    until(lambda: dagster.asset("mixtures")["metadata"].get("domains arrived") == "poems", "new mixtures")
    assert "'not_a_name'" in dagster.skips("new_domains")[0]

    # Training waits for a click, and says what it asks.
    until(
        lambda: any("refit.max_new_tokens) is 0" in reason for reason in dagster.skips("proxies_within_budget")),
        "training waits",
    )
    keys = dagster.asset("proxy_checkpoints")["partitionKeys"]
    assert dagster.materialise("proxy_checkpoints", keys=keys) == "SUCCESS"
    until(lambda: dagster.skips("proxies_within_budget")[0] == "every proxy is up to date", "losses are measured")
    assert dagster.materialise(*(stage.name for stage in TARGETS)) == "SUCCESS"

    after = workspace_at(place)
    assert after.need("mixture_decision").version != before
    assert "poems" in after.json("mixture_decision", "decision.json")["mixture"]["weights"]
    shown = dagster.asset("mixture_decision")["metadata"]
    assert shown["decision before"] == before
    assert "| poems | not there |" in shown["before and now"]
    assert shown["before and now"].count("not there") == 1
    assert int(dagster.asset("regressor")["metadata"]["inputs as before"]) > 0


def test_the_ui_shows_what_arrived(place, dagster, page):
    decision = workspace_at(place).need("mixture_decision").version
    for path, words in (
        ("/assets/tiny/domains", ["arrived", "poems", "not_a_name"]),
        ("/assets/tiny/mixtures", ["domains arrived", "poems", "proxies to train"]),
        ("/assets/tiny/mixture_decision", ["before and now", "decision before", decision]),
        ("/assets/tiny/token_shards?view=partitions&partition=poems", ["poems", "what changed"]),
    ):
        page.goto(dagster.url + path)
        for word in words:
            page.get_by_text(word).first.wait_for()
        page.screenshot(path=place / f"{path.split('/')[3].split('?')[0]}.png")
