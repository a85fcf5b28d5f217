"""Named jobs, caps, retries and the catalogue's words, on a copy of a real tiny study in its own Dagster instance."""

import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml

from regmix_pipeline.definitions import build_definitions
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.resources.instance import opened_instance
from regmix_pipeline.study.file import load_study

CATALOGUE = {
    "owners": ["team:data", "ana@example.com"],
    "tags": {"project": "large-run"},
    "freshness": {"warn_after_hours": 24, "fail_after_hours": 48},
}


class Place:
    """A study, its home, and Dagster on it."""

    def __init__(self, folder, instance):
        self.folder, self.instance = folder, instance
        self.file = folder / "tiny.yaml"

    @property
    def defs(self):
        return build_definitions(self.file, self.folder / "home", self.folder / "data", 1)

    @property
    def workspace(self):
        return Workspace(self.file, self.folder / "home", say=lambda line: None)

    def change(self, **changes):
        study = yaml.safe_load(self.file.read_text())
        for name, value in changes.items():
            study[name] = study.get(name, {}) | value if isinstance(value, dict) else value
        self.file.write_text(yaml.safe_dump(study, sort_keys=False))

    def run(self, job, **config):
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config=config or None, raise_on_error=False
        )


def said(result):
    """What the failed step of a run says."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data.description


@pytest.fixture(scope="module")
def place(decided_study, tmp_path_factory):
    folder = shutil.copytree(decided_study, tmp_path_factory.mktemp("jobs") / "study")
    with opened_instance(folder / "home") as instance:
        yield Place(folder, instance)


def test_a_job_makes_what_is_stale_and_nothing_else(place):
    before = place.workspace.need("mixture_decision").version
    assert place.run("prepare_data").success
    assert place.run("decide").success
    assert place.workspace.need("mixture_decision").version == before
    place.change(regression={"regressors": ["saturation"]})
    assert place.run("decide").success
    assert place.workspace.need("mixture_decision").version != before
    made = place.instance.get_latest_materialization_event(dg.AssetKey(["tiny", "mixture_decision"]))
    shown = {name: value.value for name, value in made.asset_materialization.metadata.items()}
    assert shown["dagster/uri"] == (place.folder / "home" / place.workspace.need("mixture_decision").files[0]).as_uri()
    (part,) = [name for name in place.workspace.need("mixture_decision").sums if name.startswith("tables/decisions/")]
    assert shown["dagster/row_count"] == pq.read_metadata(place.folder / "home" / part).num_rows


def test_a_launch_is_capped_in_tokens(place):
    place.change(mixtures={"count": 13})
    assert place.run("prepare_data").success
    cap = {"ops": {"train_and_measure": {"config": {"max_new_tokens": 16_383}}}}
    capped = place.run("train_proxies", **cap)
    assert not capped.success
    # The new mixture's proxy, and one of another seed where it is among those that have two.
    found = re.search(r"([\d,]+) tokens would be trained on, this launch is capped at 16,383", said(capped))
    assert found is not None
    wanted = int(found[1].replace(",", ""))
    assert wanted in (16_384, 2 * 16_384)
    held = len(place.workspace.records.keys("proxy_checkpoints"))
    cap["ops"]["train_and_measure"]["config"]["max_new_tokens"] = wanted
    assert place.run("train_proxies", **cap).success
    assert len(place.workspace.records.keys("proxy_checkpoints")) == held + 1


def test_the_asset_itself_is_capped_too(place):
    place.change(mixtures={"count": 14})
    assert place.run("prepare_data").success
    op = "tiny__proxy_checkpoints"
    (key, *_) = place.workspace.stale(stage_of("proxy_checkpoints"))
    tags = {f"dagster/asset_partition_range_{end}": key for end in ("start", "end")}
    result = place.defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=place.instance,
        asset_selection=[dg.AssetKey(["tiny", "proxy_checkpoints"])],
        run_config={"ops": {op: {"config": {"max_new_tokens": 0}}}},
        tags=tags,
        raise_on_error=False,
    )
    assert "this launch is capped at 0" in said(result)
    assert "STEP_RESTARTED" not in [event.event_type_value for event in result.all_events]


def stage_of(name):
    from regmix_pipeline.stages import STAGES

    return next(stage for stage in STAGES if stage.name == name)


def test_the_catalogue_says_what_the_study_says(place):
    place.change(catalogue=CATALOGUE)
    graph = place.defs.get_repository_def().asset_graph
    decision = graph.get(dg.AssetKey(["tiny", "mixture_decision"]))
    assert decision.owners == ["team:data", "ana@example.com"]
    assert decision.tags["project"] == "large-run"
    assert decision.freshness_policy.fail_window.to_timedelta().total_seconds() == 48 * 3600
    losses = graph.get(dg.AssetKey(["tiny", "proxy_losses"]))
    assert losses.freshness_policy is None
    columns = losses.metadata["dagster/column_schema"].columns
    assert "standard_error" in [column.name for column in columns]
    (reference,) = losses.metadata["dagster/code_references"].code_references
    with open(reference.file_path) as source:
        assert "def _compute_losses" in source.readlines()[reference.line_number - 1]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"owners": ["nobody"]}, "catalogue.owners"),
        ({"tags": {"a key": "x"}}, "catalogue.tags"),
        ({"freshness": {"warn_after_hours": 9, "fail_after_hours": 8}}, "catalogue.freshness"),
    ],
)
def test_a_catalogue_that_dagster_would_refuse_is_named(place, tmp_path, wrong, where):
    study = yaml.safe_load(place.file.read_text()) | {"catalogue": wrong}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(Exception, match=where):
        load_study(tmp_path / "wrong.yaml")


def test_a_broken_connection_is_tried_again(place, monkeypatch):
    """A fault of the network, put where the tokens are written; the policy's delay is Dagster's to wait for."""
    from regmix_pipeline.assets import graph

    monkeypatch.setattr(graph, "RETRY", dg.RetryPolicy(max_retries=2))
    calls = []
    stage = stage_of("token_shards")

    def broken(workspace, recipes):
        calls.append(len(recipes))
        if len(calls) == 1:
            raise ConnectionResetError("reset by peer")
        yield from before(workspace, recipes)

    before = stage.outputs
    monkeypatch.setattr("regmix_pipeline.assets.catalogue.code_of", lambda stage: {})
    object.__setattr__(stage, "outputs", broken)
    try:
        result = place.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=place.instance,
            asset_selection=[dg.AssetKey(["tiny", "token_shards"])],
            tags={"dagster/asset_partition_range_start": "code", "dagster/asset_partition_range_end": "code"}
            | {"regmix/force": "yes"},
            raise_on_error=False,
        )
    finally:
        object.__setattr__(stage, "outputs", before)
    assert result.success
    assert len(calls) == 2
    assert [event.event_type_value for event in result.all_events].count("STEP_RESTARTED") == 1


class Inbox(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    posted: list = []  # noqa: RUF012

    def do_POST(self):
        self.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_failed_run_is_posted_to_the_webhook(place, monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Inbox)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert status_of(place, "run_failures") == "STOPPED"
    monkeypatch.setenv("REGMIX_ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook")
    assert status_of(place, "run_failures") == "RUNNING"
    place.change(proxies={"replicates": 2})
    failed = place.run("train_proxies", ops={"train_and_measure": {"config": {"max_new_tokens": 0}}})
    context = dg.build_run_status_sensor_context(
        sensor_name="run_failures",
        dagster_instance=place.instance,
        dagster_run=failed.dagster_run,
        dagster_event=next(event for event in failed.all_events if event.event_type_value == "PIPELINE_FAILURE"),
    ).for_run_failure()
    place.defs.get_sensor_def("run_failures")(context)
    server.shutdown()
    (posted,) = Inbox.posted
    assert posted["study"] == "tiny"
    assert posted["run"] == failed.run_id
    assert posted["job"] == "train_proxies"
    assert "this launch is capped at 0" in posted["error"]
    assert posted["text"].startswith(f"regmix study tiny: run {failed.run_id[:8]} failed: ")


def status_of(place, sensor):
    return place.defs.get_sensor_def(sensor).default_status.value


def test_without_automation_everything_starts_stopped(place, monkeypatch):
    place.change(refit={"cron": "0 3 * * *"})
    looking = ("new_domains", "changed_text", "proxies_within_budget", "staleness", "automation")
    assert {status_of(place, name) for name in looking} == {"RUNNING"}
    monkeypatch.setenv("REGMIX_AUTOMATION", "off")
    monkeypatch.setenv("REGMIX_ALERT_WEBHOOK", "http://127.0.0.1:9/")
    assert {status_of(place, name) for name in (*looking, "run_failures")} == {"STOPPED"}
    assert place.defs.get_schedule_def("refit").default_status.value == "STOPPED"
