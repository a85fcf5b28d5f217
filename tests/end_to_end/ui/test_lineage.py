"""What a person sees at a first visit, and a named job by one click: on a real decided study."""

import shutil

import pytest
import yaml

from regmix_pipeline.engine.workspace import Workspace


@pytest.fixture(scope="module")
def place(decided_study, tmp_path_factory):
    """A copy of the decided study, of which the fit is stale."""
    folder = shutil.copytree(decided_study, tmp_path_factory.mktemp("lineage") / "study")
    study = yaml.safe_load((folder / "tiny.yaml").read_text())
    study |= {"regression": {"regressors": ["saturation"]}, "catalogue": {"owners": ["team:data"]}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def dagster(place, running):
    with running(place) as found:
        yield found


def test_a_first_visit_to_the_lineage_shows_the_graph(dagster, page):
    page.goto(f"{dagster.url}/asset-groups")
    for asset in ("token_shards", "mixtures", "proxy_checkpoints", "regressor", "mixture_decision"):
        page.locator(f'[data-svg-key*="{asset}"], foreignObject').filter(has_text=asset).first.wait_for()


def test_a_named_job_decides_by_one_click_and_shows_the_training(dagster, page, place):
    before = Workspace(place / "tiny.yaml", place / "home", say=print).need("mixture_decision").version
    page.goto(f"{dagster.url}/locations/regmix_pipeline/jobs/decide/playground")
    with page.expect_response(lambda got: '"LaunchPipelineExecution"' in (got.request.post_data or "")) as sent:
        page.get_by_role("button", name="Launch Run").click()
    launched = sent.value.json()["data"]["launchPipelineExecution"]
    page.goto("about:blank")
    assert dagster.end_of_run(launched["run"]["id"], "the job decide") == "SUCCESS"
    after = Workspace(place / "tiny.yaml", place / "home", say=print).need("mixture_decision").version
    assert after != before
    shown = dagster.asset("regressor")["metadata"]
    assert shown["training of all proxies"].startswith("![](data:image/svg+xml;base64,")
    page.goto(f"{dagster.url}/assets/tiny/regressor?view=overview")
    page.get_by_text("training of all proxies").first.wait_for()
    page.get_by_text("team:data").or_(page.get_by_text("data", exact=True)).first.wait_for()
