"""Two studies in one workspace, instance or code location: neither touches what the other has."""

import dagster as dg
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from regmix_pipeline.assets.names import StudyNames
from regmix_pipeline.definitions import build_definitions
from regmix_pipeline.stages import STAGES


def materialise(instance, names, definitions):
    """Run a study's data assets as the UI does: what is observed first, then the partitions that this registers."""
    job = definitions.resolve_implicit_global_asset_job_def()

    def run(*assets, tags=None):
        assert job.execute_in_process(instance=instance, asset_selection=names.asset_keys(assets), tags=tags).success

    run("domains")
    sources = instance.get_dynamic_partitions(names.sources.name)
    ends = {"dagster/asset_partition_range_start": sources[0], "dagster/asset_partition_range_end": sources[-1]}
    run("documents", tags=ends)
    run("tokenizer")
    run("token_shards", tags=ends)
    run("domain_inventory", "mixtures")


def test_they_share_an_instance_and_keep_their_partitions(study_file, tmp_path):
    settings = yaml.safe_load(study_file.read_text())
    other_file = study_file.with_name("other.yaml")
    domains = {name: settings["domains"][name] for name in ("code", "licences")}
    targets = {name: {} for name in domains}
    small = {"name": "other", "domains": domains, "targets": targets, "objective": None}
    other_file.write_text(yaml.safe_dump({k: v for k, v in (settings | small).items() if v is not None}))
    tiny, other = StudyNames.of("tiny"), StudyNames.of("other")
    with dg.DagsterInstance.ephemeral() as instance:
        materialise(instance, tiny, build_definitions(study_file, tmp_path / "home"))
        before = {each.name: instance.get_dynamic_partitions(each.name) for each in (tiny.sources, tiny.mixtures)}
        assert len(before["tiny/domain"]) == 4
        materialise(instance, other, build_definitions(other_file, tmp_path / "other-home"))
        assert {name: instance.get_dynamic_partitions(name) for name in before} == before
        assert instance.get_dynamic_partitions(other.sources.name) == ["code", "licences"]
        for names, count in ((tiny, 4), (other, 2)):
            assert len(instance.get_materialized_partitions(names.asset_key("token_shards"))) == count
            assert instance.get_latest_materialization_event(names.asset_key("mixtures")) is not None


def test_one_code_location_runs_both(study_file, tmp_path):
    locations = []
    for name in ("one", "two"):
        path = study_file.with_name(f"{name}.yaml")
        path.write_text(study_file.read_text().replace("name: tiny", f"name: {name}"))
        locations.append(build_definitions(path, tmp_path / name, prefix=f"{name}_", executor=dg.in_process_executor))
    both = dg.Definitions.merge(*locations)
    with dg.DagsterInstance.ephemeral() as instance:
        names = StudyNames.of("two")
        materialise(instance, names, both)
        assert instance.get_latest_materialization_event(names.asset_key("mixtures")) is not None
        assert (tmp_path / "two" / "records").is_dir()
        assert not (tmp_path / "one").exists()
        assert instance.get_dynamic_partitions(StudyNames.of("one").sources.name) == []


def test_one_workspace_lists_both(study_file, tmp_path):
    entries = []
    for name in ("one", "two"):
        path = study_file.with_name(f"{name}.yaml")
        path.write_text(study_file.read_text().replace("name: tiny", f"name: {name}"))
        module = tmp_path / f"{name}.py"
        module.write_text(
            "from regmix_pipeline.definitions import build_definitions\n\n"
            f"defs = build_definitions({str(path)!r}, {str(tmp_path / name)!r})\n"
        )
        entries.append({"python_file": {"relative_path": module.name, "location_name": name}})
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": entries}))
    with (
        dg.instance_for_test() as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as process,
    ):
        context = process.create_request_context()
        assert context.code_location_errors() == []
        graph = context.asset_graph
        assert len({node.key for node in graph.asset_nodes}) == 2 * len(STAGES)
        assert {key.path[0] for key in graph.get_all_asset_keys()} == {"one", "two"}
