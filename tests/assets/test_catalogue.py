"""What Dagster's catalogue shows of a finished study: by its definitions, and by its instance."""

import shutil
from urllib.parse import unquote, urlsplit

import dagster as dg
import duckdb
import pytest
import yaml

from regmix_pipeline.assets.catalogue import table_of
from regmix_pipeline.assets.hooks import OBSERVED
from regmix_pipeline.definitions import build_definitions
from regmix_pipeline.resources.instance import opened_instance
from regmix_pipeline.stages import STAGES

OWNERS = ["team:data", "ana@example.com"]
TABLES = {stage.name for stage in STAGES if table_of(stage)}


class Catalogue:
    """The definitions of a finished study, and its instance."""

    def __init__(self, folder, instance):
        self.folder, self.instance = folder, instance
        self.definitions = build_definitions(folder / "tiny.yaml", folder / "home", folder / "data", 1)
        self.graph = self.definitions.resolve_asset_graph()

    def node(self, name):
        return self.graph.get(dg.AssetKey(["tiny", name]))

    def latest(self, name):
        """Metadata of the latest materialisation, None where the study has no such part."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(["tiny", name]))
        return event and {label: value.value for label, value in event.asset_materialization.metadata.items()}


@pytest.fixture(scope="module")
def catalogue(decided_study, tmp_path_factory):
    folder = shutil.copytree(decided_study, tmp_path_factory.mktemp("catalogue") / "study")
    study = yaml.safe_load((folder / "tiny.yaml").read_text())
    study["catalogue"] = {"owners": OWNERS, "tags": {"project": "large-run"}, "freshness": {"fail_after_hours": 48}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    with opened_instance(folder / "home") as instance:
        yield Catalogue(folder, instance)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_asset_has_owners_tags_and_code(catalogue, stage):
    node = catalogue.node(stage.name)
    assert node.owners == OWNERS
    assert (node.tags["project"], node.tags["regmix/part"]) == ("large-run", stage.group)
    assert node.metadata["dagster/code_references"].code_references
    assert (node.freshness_policy is not None) == (stage.name == "mixture_decision")
    assert ("dagster/column_schema" in node.metadata) == (stage.name in TABLES)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_that_was_made_says_how_many_rows_and_where(catalogue, name):
    made = catalogue.latest(name)
    if made is None or made.get("not part of this study"):
        assert name in ("confirmation", "imported_runs", "size_runs", "strategy_comparison")
        return
    view = catalogue.node(name).metadata["dagster/table_name"]
    view = view if isinstance(view, str) else view.value
    with duckdb.connect(str(catalogue.folder / "home" / "ledger.duckdb"), read_only=True) as ledger:
        (rows,) = ledger.execute(f"select count(*) from {view}").fetchone()
    assert made["dagster/row_count"] == rows
    # The study's folder was copied after it was made: the address is of where it was.
    _, _, inside = unquote(urlsplit(made["dagster/uri"]).path).partition("/home/")
    assert (catalogue.folder / "home" / inside).is_file()


def test_a_partition_says_its_own_rows_too(catalogue):
    key = dg.AssetKey(["tiny", "proxy_losses"])
    events = catalogue.instance.fetch_materializations(key, limit=100).records
    latest = {}
    for event in events:
        metadata = event.asset_materialization.metadata
        latest.setdefault(event.partition_key, metadata["dagster/partition_row_count"].value)
    assert sum(latest.values()) == catalogue.latest("proxy_losses")["dagster/row_count"]


@pytest.mark.parametrize("name", OBSERVED)
def test_what_is_observed_is_reported_by_a_run(catalogue, name):
    key = dg.AssetKey(["tiny", name])
    job = catalogue.definitions.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=catalogue.instance, asset_selection=[key]).success
    (record,) = catalogue.instance.fetch_observations(key, limit=1).records
    assert record.asset_observation.metadata["version"]
    assert not catalogue.instance.fetch_materializations(key, limit=1).records
    if name == "documents":
        found = catalogue.instance.fetch_observations(dg.AssetRecordsFilter(key, asset_partitions=["code"]), limit=1)
        (record,) = found.records
        uri = record.asset_observation.metadata["dagster/uri"].value
        assert uri == (catalogue.folder / "text" / "code.jsonl").as_uri()
