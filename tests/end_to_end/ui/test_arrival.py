"""A domain arrives at a running Dagster: seen, tokenised and mixed by itself, trained and decided by a click.

One study is used by all tests here, in order. Without a browser it is trained, and the rest is skipped.
"""

import shutil

import pytest
import yaml

from regmix_pipeline.engine.workspace import Workspace


@pytest.fixture(scope="module")
def place(watched_study, tmp_path_factory):
    """A study with a watched folder, decided once."""
    folder = shutil.copytree(watched_study, tmp_path_factory.mktemp("arrival") / "study")
    file = folder / "tiny.yaml"
    refit = {"cron": "0 3 * * *", "settle_seconds": 2, "look_seconds": 4}
    file.write_text(
        yaml.safe_dump(
            yaml.safe_load(file.read_text()) | {"refit": refit, "catalogue": {"owners": ["team:data"]}}, sort_keys=False
        )
    )
    return folder


def workspace_at(folder):
    return Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None)


@pytest.fixture(scope="module")
def dagster(place, running):
    with running(place) as found:
        yield found


@pytest.mark.timeout(600)
def test_a_folder_arrives_and_is_trained_on_after_a_click(place, dagster, until):
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


def test_a_first_visit_to_the_lineage_shows_the_graph(dagster, page):
    page.goto(f"{dagster.url}/asset-groups")
    for asset in ("token_shards", "mixtures", "proxy_checkpoints", "regressor", "mixture_decision"):
        page.locator(f'[data-svg-key*="{asset}"], foreignObject').filter(has_text=asset).first.wait_for()


def test_a_named_job_decides_by_one_click_and_shows_the_training(place, dagster, page):
    before = workspace_at(place).need("mixture_decision").version
    page.goto(f"{dagster.url}/locations/regmix_pipeline/jobs/decide/playground")
    with page.expect_response(lambda got: '"LaunchPipelineExecution"' in (got.request.post_data or "")) as sent:
        page.get_by_role("button", name="Launch Run").click()
    launched = sent.value.json()["data"]["launchPipelineExecution"]
    page.goto("about:blank")
    assert dagster.end_of_run(launched["run"]["id"], "the job decide") == "SUCCESS"
    after = workspace_at(place)
    assert after.need("mixture_decision").version != before
    assert "poems" in after.json("mixture_decision", "decision.json")["mixture"]["weights"]
    shown = dagster.asset("mixture_decision")["metadata"]
    assert shown["decision before"] == before
    assert "| poems | not there |" in shown["before and now"]
    assert shown["before and now"].count("not there") == 1
    shown = dagster.asset("regressor")["metadata"]
    assert int(shown["inputs as before"]) > 0
    assert shown["training of all proxies"].startswith("![](data:image/svg+xml;base64,")
    page.goto(f"{dagster.url}/assets/tiny/regressor?view=overview")
    page.get_by_text("training of all proxies").first.wait_for()
    page.get_by_text("team:data").or_(page.get_by_text("data", exact=True)).first.wait_for()


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
