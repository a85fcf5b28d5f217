"""A published list comes from a store that others can write to: it is checked before any of it becomes a path."""

import json

import pytest

from regmix_pipeline.errors import StudyError
from regmix_pipeline.proxies.workers.slices import TASKS, published
from regmix_pipeline.proxies.workers.store import Store


def _with(spec, **shard):
    """The list of one proxy, with fields of its shards replaced."""
    value = spec.model_dump(mode="json")
    for file in value["shards"].values():
        file.update(shard)
    return value


@pytest.fixture
def write(tmp_path):
    """Write a list into a store in a folder; returns the store."""

    def written(content):
        store = Store(str(tmp_path / "store"))
        path = tmp_path / "list.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        store.put(path, TASKS)
        return store

    return written


def test_a_list_is_read_back(write, checked):
    spec = checked()
    assert [each.id for each in published(write([spec.model_dump(mode="json")]))] == [spec.id]


OUTSIDE = [
    *(("version", name) for name in ("..", "../outside", "a/b", "/etc/cron.d/job", "", ".hidden")),
    # A path's last part is what becomes a name in the cache.
    *(("path", path) for path in ("/", "/data/..", "/data/.hidden")),
    *(("folder", path) for path in ("/", "/data/..", "/data/.hidden")),
]


@pytest.mark.parametrize(("field", "value"), OUTSIDE)
def test_names_that_leave_the_cache_are_refused(write, checked, field, value):
    spec = checked()
    changed = spec.model_dump(mode="json") | {"folder": value} if field == "folder" else _with(spec, **{field: value})
    with pytest.raises(StudyError, match="leave the cache") as caught:
        published(write([changed]))
    assert caught.value.where.endswith(TASKS)


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"mixture": {}}]', "7", '{"a": 1}'])
def test_what_is_not_a_list_of_proxies_is_named(write, content):
    with pytest.raises(StudyError, match="not a list of proxies"):
        published(write(content))
