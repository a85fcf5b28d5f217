"""What Dagster sees, as one readable file: a change of the graph shows as a change of the snapshot.

pytest -n 0 tests/assets/test_definitions.py --snapshot-update
"""

import pytest

from regmix_pipeline.definitions import defs


@pytest.fixture(scope="module")
def repository():
    """The code location's definitions, resolved."""
    return defs.get_repository_def()


def names(keys):
    return ", ".join(sorted(key.to_user_string() for key in keys))


def test_assets(repository, snapshot):
    graph = repository.asset_graph
    found = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        found[key.to_user_string()] = {
            "deps": names(node.parent_keys),
            "group": node.group_name,
            "part": node.tags["regmix/part"],
            "columns": len(schema.columns) if (schema := node.metadata.get("dagster/column_schema")) else 0,
            "kinds": ", ".join(sorted(node.kinds)),
            "code_version": node.code_version,
            "partitions": getattr(node.partitions_def, "name", None),
            "automatic": node.automation_condition is not None,
        }
    assert found == snapshot


def test_checks(repository, snapshot):
    graph = repository.asset_graph
    found = {
        f"{key.asset_key.to_user_string()}: {key.name}": "blocking" if spec.blocking else "warning"
        for key, spec in ((key, graph.get_check_spec(key)) for key in graph.asset_check_keys)
    }
    assert dict(sorted(found.items())) == snapshot


def test_jobs(repository, snapshot):
    jobs = [each for each in repository.get_all_jobs() if not each.name.startswith("__")]
    found = {job.name: names(job.asset_layer.executable_asset_keys) or job.description for job in jobs}
    assert found == snapshot


def test_sensors_and_schedules(repository, snapshot):
    sensors = {
        each.name: f"{each.sensor_type.value}, every {each.minimum_interval_seconds} s, {each.default_status.value}"
        for each in repository.sensor_defs
    }
    schedules = {
        schedule.name: f"{schedule.cron_schedule}, {schedule.execution_timezone}, {schedule.default_status.value}"
        for schedule in repository.schedule_defs
    }
    assert {"sensors": dict(sorted(sensors.items())), "schedules": dict(sorted(schedules.items()))} == snapshot
