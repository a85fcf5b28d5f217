"""A study made by clicks alone: every asset, one, some and all partitions, the whole graph, and a verdict.

One study is used by all tests here, in order: the first one makes it, from nothing, by one click.
"""

import shutil

import pytest
import yaml

from regmix_pipeline.assets.graph import OBSERVED
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.names import mixture_names
from regmix_pipeline.decisions.verdicts import verdicts_of
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS
from regmix_pipeline.stages import STAGES

UNPARTITIONED = [stage.name for stage in STAGES if stage.partitions is None and stage.name not in OBSERVED]
MIXTURES = ("proxy_checkpoints", "proxy_losses")
GROUPS = "/asset-groups"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def place(real_text, tiny_settings, tmp_path_factory):
    """A study that was never run."""
    folder = tmp_path_factory.mktemp("clicks")
    shutil.copytree(real_text, folder / "text")
    settings = {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "regression": {"regressors": ["exponential", "gaussian_process"], "bootstrap": 50},
        # Sixteen are sampled, and two more are chosen by what these taught.
        "mixtures": {"count": 18, "minimum": 0.02, "anchors": {"natural": True}, "rounds": {"number": 2, "first": 0.9}},
        "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 0}},
        "refit": {"look_seconds": 10},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def dagster(place, running):
    with running(place) as found:
        yield found


@pytest.fixture
def workspace(place):
    return Workspace(place / "tiny.yaml", place / "home", say=lambda line: None)


def launched(page, click):
    """What a click launches: (run or backfill, its id)."""
    with page.expect_response(
        lambda got: (
            '"LaunchPartitionBackfill"' in (got.request.post_data or "")
            or '"LaunchPipelineExecution"' in (got.request.post_data or "")
        )
    ) as sent:
        click()
    found = sent.value.json()["data"]
    page.goto("about:blank")  # an open page asks the webserver for news all the time
    if "launchPartitionBackfill" in found:
        assert found["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", found
        return "backfill", found["launchPartitionBackfill"]["backfillId"]
    assert found["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess", found
    return "run", found["launchPipelineExecution"]["run"]["id"]


def partition_dialog(page, dagster, asset):
    """The dialog that Materialize opens on a partitioned asset."""
    page.goto(f"{dagster.url}/assets/tiny/{asset}")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Launch").wait_for()
    return dialog


def materialise_some(page, dagster, asset, keys):
    """Materialize, choose partitions one by one, launch."""
    dialog = partition_dialog(page, dagster, asset)
    dialog.get_by_text("Select a partition or create one").click()
    for key in keys:
        page.get_by_role("menuitem").filter(has_text=key).first.click()
    page.keyboard.press("Escape")
    return launched(page, dialog.get_by_role("button", name="Launch").click)


def materialise_all(page, dagster, asset):
    """Materialize, All, launch."""
    dialog = partition_dialog(page, dagster, asset)
    dialog.get_by_role("button", name="All", exact=True).click()
    return launched(page, dialog.get_by_role("button", name="Launch").click)


def materialise_whole(page, dagster, asset):
    """Materialize on an asset without partitions."""
    page.goto(f"{dagster.url}/assets/tiny/{asset}")
    return launched(page, page.get_by_role("button", name="Materialize").first.click)


def materialise_everything(page, dagster):
    """Materialize all on the lineage page."""
    page.goto(dagster.url + GROUPS)
    page.get_by_role("button", name="Materialize all").click()
    return launched(page, page.get_by_role("dialog").get_by_role("button", name="Launch backfill").click)


def succeeded(dagster, *clicks):
    for kind, launch in clicks:
        if kind == "run":
            assert dagster.end_of_run(launch) == "SUCCESS"
        else:
            assert dagster.end_of_backfill(launch) == ("COMPLETED_SUCCESS", {"SUCCESS"})


def materialised(dagster, asset):
    return set(dagster.asset(asset)["assetPartitionStatuses"]["materializedPartitions"])


def test_one_click_leads_from_nothing_to_a_decision(page, dagster, workspace, until):
    # No mixture is a partition yet when the click comes.
    assert workspace.records.current("mixtures") is None
    succeeded(dagster, materialise_everything(page, dagster))
    decision = find_decision(workspace)
    assert decision["summary"]
    assert [row["mixtures"] for row in decision["rounds"]] == [16, 2]
    assert not any("round" in flag for flag in decision["flags"])
    for stage in STAGES:
        assert not workspace.stale(stage), stage.name
        if stage.partitions and stage.upstream:
            assert materialised(dagster, stage.name) == set(workspace.records.keys(stage.name))
    until(lambda: set(dagster.checks().values()) == {"up to date"}, "every asset is shown to be up to date")


def test_the_natural_mixture_s_partition_is_found(page, dagster, workspace, place):
    natural = mixture_names(workspace)["natural"]
    page.goto(f"{dagster.url}/assets/tiny/mixtures")
    page.get_by_role("link", name=natural).first.click()
    page.get_by_text("natural", exact=False).first.wait_for()
    assert f"partition={natural}" in page.url
    page.screenshot(path=place / "natural.png")
    seen = [each for each in dagster.observations("proxy_checkpoints", natural) if "mixture" in each]
    assert "natural" in seen[0]["mixture"]


def test_what_is_stale_is_seen_and_made_again_one_some_and_all(page, dagster, workspace, place, until):
    keys = workspace.records.keys("proxy_checkpoints")
    gone, shown = keys[:3], f"3 of {len(keys)} stale"
    for key in gone:
        shutil.rmtree(workspace.artefact("proxy_checkpoints", key).parent)
    until(lambda: (dagster.checks()["proxy_checkpoints"] or "").startswith(shown), "it is shown as stale")
    # One look's answers are written one after the other.
    until(
        lambda: "made from what is stale now: proxy_checkpoints" in (dagster.checks()["mixture_report"] or ""),
        "what is made from it is shown as well",
    )
    assert dagster.observations("proxy_checkpoints", gone[0])[0]["reason"].endswith("is missing")
    page.goto(f"{dagster.url}/assets/tiny/proxy_checkpoints?view=checks&checkDetail=up_to_date")
    page.get_by_text(shown).first.wait_for()
    page.screenshot(path=place / "stale.png")
    page.goto(dagster.url + GROUPS)
    page.get_by_text("proxy_losses").first.wait_for()
    page.screenshot(path=place / "stale-graph.png")

    # Two pieces of work that do not touch each other go at once: what takes long is Dagster's look at backfills.
    clicks = [materialise_some(page, dagster, "proxy_checkpoints", gone[:1])]
    clicks += [
        materialise_some(page, dagster, "proxy_losses", gone[-1:]),
        materialise_all(page, dagster, "token_shards"),
    ]
    succeeded(dagster, *clicks)
    assert set(workspace.stale(PROXY_CHECKPOINTS)) == set(gone[1:])
    clicks = [materialise_some(page, dagster, "proxy_checkpoints", gone[1:])]
    clicks += [materialise_some(page, dagster, "proxy_losses", gone[:2])]
    succeeded(dagster, *clicks)
    until(lambda: set(dagster.checks().values()) == {"up to date"}, "every asset is shown to be up to date again")


@pytest.fixture
def made(page, dagster, workspace):
    """The study is made, also where the tests before are left out."""
    if workspace.records.current("mixture_report") is None:
        succeeded(dagster, materialise_everything(page, dagster))


@pytest.mark.slow
def test_partitions_that_are_up_to_date_are_made_again(made, page, dagster, workspace):
    clicks = [materialise_all(page, dagster, asset) for asset in MIXTURES]
    clicks += [materialise_some(page, dagster, "token_shards", workspace.domains[:1])]
    clicks += [("backfill", dagster.launch(MIXTURES, workspace.records.keys("proxy_checkpoints")[:3]))]
    succeeded(dagster, *clicks)


@pytest.mark.slow
def test_every_asset_without_partitions_is_made_by_a_click(made, page, dagster):
    succeeded(dagster, *(materialise_whole(page, dagster, asset) for asset in UNPARTITIONED))


def test_a_verdict_is_given_from_the_launchpad(page, dagster, workspace, place):
    page.goto(f"{dagster.url}/locations/regmix_pipeline/jobs/judge_decision/playground")
    for words in ("approved or rejected", "Your name", "Why? It is kept permanently."):
        page.get_by_text(words).first.wait_for()
    page.screenshot(path=place / "launchpad.png")
    launch = page.get_by_role("button", name="Launch Run")
    _, refused = launched(page, launch.click)
    assert dagster.end_of_run(refused) == "FAILURE"
    assert verdicts_of(workspace, find_decision(workspace)["decision"]) == []

    page.goto(f"{dagster.url}/locations/regmix_pipeline/jobs/judge_decision/playground")
    page.get_by_text("Your name").first.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("ops: {record_verdict: {config: {said: approved, reason: seen and good, by: Ada}}}\n")
    _, given = launched(page, launch.click)
    assert dagster.end_of_run(given) == "SUCCESS"
    (verdict,) = verdicts_of(workspace, find_decision(workspace)["decision"])
    assert (verdict.said, verdict.reason, verdict.by) == ("approved", "seen and good", "Ada")


@pytest.mark.slow
def test_the_whole_graph_is_made_again_after_the_mixtures_change(made, page, dagster, workspace, place):
    path = place / "tiny.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["mixtures"]["count"] = 7
    settings["seed"] = 8
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    before = set(workspace.records.keys("proxy_losses"))
    succeeded(dagster, materialise_everything(page, dagster))
    changed = Workspace(path, place / "home", say=lambda line: None)
    assert set(changed.records.keys("proxy_losses")) != before
    assert [stage.name for stage in STAGES if changed.stale(stage)] == []
