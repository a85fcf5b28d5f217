"""A study with a watched folder; each test gets a copy of it with its own Dagster instance."""

import contextlib
import os
import shutil
import time

import dagster as dg
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from regmix_pipeline.assets.names import names_of, stage_name
from regmix_pipeline.definitions import build_definitions
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import Workspace


class World:
    """A study on disk and Dagster on it, as the daemon would drive them: looks, ticks and runs are each one call."""

    def __init__(self, folder, instance):
        self.folder, self.instance = folder, instance
        self.inbox = folder / "inbox"
        self.cursors, self.condition_cursor = {}, None
        self.reload()

    def reload(self):
        """Load the definitions again, as a code location does after the study file changed."""
        self.names = names_of(self.workspace())
        self.defs = build_definitions(self.folder / "tiny.yaml", self.folder / "home")
        self.job = self.defs.resolve_implicit_global_asset_job_def()

    def workspace(self):
        return Workspace(self.folder / "tiny.yaml", self.folder / "home", say=lambda line: None)

    def change_study(self, **changes):
        path = self.folder / "tiny.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))

    def look(self, name):
        """One tick of a sensor; what it says of partitions and observations is done. Returns (request, skip reason)."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(name), sensor_name=name
        ) as context:
            result = self.defs.get_sensor_def(name)(context)
        self.cursors[name] = result.cursor or self.cursors.get(name)
        for request in result.dynamic_partitions_requests:
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition(request.partitions_def_name, key)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        requests = list(result.run_requests or [])
        assert len(requests) <= 1
        reason = result.skip_reason.skip_message if result.skip_reason else ""
        return (requests[0] if requests else None), reason

    def tick(self):
        """One evaluation of the automation conditions: asset -> partitions requested."""
        found = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.condition_cursor)
        self.condition_cursor = found.cursor
        return {
            stage_name(result.key): sorted(map(str, found.get_requested_partitions(result.key)))
            for result in found.results
            if found.get_num_requested(result.key)
        }

    def run(self, *assets, keys=(), tags=None):
        """Run assets in this process, over a range of partitions; whether it succeeded."""
        ends = {"start": keys[0], "end": keys[-1]} if keys else {}
        tags = {f"dagster/asset_partition_range_{end}": key for end, key in ends.items()} | (tags or {})
        result = self.job.execute_in_process(
            instance=self.instance,
            asset_selection=self.names.asset_keys(assets),
            tags=tags,
            raise_on_error=False,
        )
        return result.success

    def asked(self, request):
        """Run what a sensor or the schedule asked for."""
        return self.run(*map(stage_name, request.asset_selection), tags=dict(request.tags))

    def start(self, asset):
        """A run of an asset that is under way, as another process would have it; returns its id."""
        run = self.instance.create_run_for_job(
            self.job.get_subset(asset_selection={self.key(asset)}),
            asset_selection=frozenset({self.key(asset)}),
            status=dg.DagsterRunStatus.STARTED,
        )
        return run.run_id

    def start_backfill(self, *assets, name):
        """A backfill of assets that was launched and has not ended."""
        backfill = PartitionBackfill(
            backfill_id=name,
            status=BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=time.time(),
            asset_selection=[self.key(asset) for asset in assets],
        )
        self.instance.add_backfill(backfill)
        return backfill

    def end_backfill(self, backfill):
        """The backfill has made all that it was launched for."""
        self.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))

    def key(self, asset):
        """The key of an asset."""
        return self.names.asset_key(asset)

    def partitions(self, kind):
        """The registered partitions: of sources, or of mixtures."""
        return list(self.instance.get_dynamic_partitions(getattr(self.names, kind).name))

    def facts(self, asset, key=None):
        """Metadata of an asset's latest materialisation."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(self.key(asset), asset_partitions=[key] if key else None), limit=1
        ).records
        return {name: value.value for name, value in records[0].asset_materialization.metadata.items()}

    def drop_in(self, name, source="descriptions"):
        """A folder with text under the watched address."""
        (self.inbox / name).mkdir()
        self.write(self.inbox / name / "a.jsonl", (self.folder / "text" / f"{source}.jsonl").read_bytes())

    def write(self, path, content):
        """Write a file as of a minute ago.

        A checksum of a file written a moment ago is not remembered, since another write could leave the same time: how
        often such a file is observed would depend on how fast the test runs.
        """
        path.write_bytes(content)
        written = time.time() - 60
        os.utime(path, (written, written))

    def settle(self):
        """Sensors, ticks and the runs they ask for, until nothing is asked any more; every asset that ran, in order."""
        ran = []
        for _ in range(12):
            self.look("new_domains")
            request, _ = self.look("changed_text")
            if request:
                assert self.asked(request)
                ran.append("documents")
            wanted = self.tick()
            for asset, keys in wanted.items():
                assert self.run(asset, keys=[key for key in keys if key != "None"]), asset
                ran.append(asset)
            if not request and not wanted:
                return ran
        raise AssertionError(f"never quiet: {ran}")


@contextlib.contextmanager
def world_in(folder):
    """Dagster on the study in a folder, quiet: the conditions have been evaluated and asked for nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGMIX_STUDY", str(folder / "tiny.yaml"))
        patch.setenv("REGMIX_HOME", str(folder / "home"))
        patch.setenv("DAGSTER_HOME", str(folder / "home" / "dagster"))
        with dg.DagsterInstance.from_config(str(folder / "home" / "dagster")) as instance:
            made = World(folder, instance)
            # Checksums are remembered by path, and the copy has other paths.
            list(made.workspace().materialise(DOCUMENTS))
            assert made.tick() == {}
            yield made


@pytest.fixture(scope="session")
def arrived_study(made_once, watched_study):
    """The folder of the watched study after a domain arrived: its mixtures wait for proxies."""

    def make(folder):
        shutil.copytree(watched_study, folder, dirs_exist_ok=True)
        with world_in(folder) as world:
            world.drop_in("poems")
            world.settle()

    return made_once("arrived", make)


@pytest.fixture
def world(watched_study, tmp_path):
    """A copy of the watched study."""
    with world_in(shutil.copytree(watched_study, tmp_path / "study")) as made:
        yield made


@pytest.fixture
def arrived_world(arrived_study, tmp_path):
    """A copy of the watched study after a domain arrived."""
    with world_in(shutil.copytree(arrived_study, tmp_path / "study")) as made:
        yield made
