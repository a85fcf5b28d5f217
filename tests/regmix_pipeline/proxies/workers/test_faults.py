"""One bad proxy, file or answer of the store costs that proxy alone, and is repaired by the next run."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from regmix_pipeline.errors import ProxyError, RegmixError, TokenError
from regmix_pipeline.proxies.spec import EvaluationSpec
from regmix_pipeline.proxies.train import train_proxy
from regmix_pipeline.proxies.workers import watch
from regmix_pipeline.proxies.workers.choose import ThroughStore
from regmix_pipeline.proxies.workers.remote import done_through
from regmix_pipeline.proxies.workers.slices import train_from
from regmix_pipeline.proxies.workers.store import Store
from regmix_pipeline.proxies.workers.watch import Watch


@pytest.fixture
def two(checked, put_tokens):
    """Two proxies, whose shards are in the store."""
    made = [checked(seed=seed) for seed in (1, 2)]
    put_tokens(made[0])
    return made


def alter(store: Store, spec, name="model.safetensors"):
    place = store.place("proxies", spec.id, name)
    store.files.pipe_file(place, store.files.cat_file(place)[:-4] + b"\0\0\0\1")


def acts_on(error, *words):
    """Whether a user can act on the error, and it names what it is about."""
    assert isinstance(error, RegmixError)
    assert error.where
    assert error.remedy
    assert all(word in str(error) for word in words), str(error)
    return True


@pytest.mark.parametrize("name", ["model.safetensors", "proxy.json"])
def test_a_damaged_proxy_in_the_store_is_trained_again_and_replaced(
    store: Store, two, tmp_path, in_this_process, bits, name
):
    for spec in two:
        done_through(store, spec, tmp_path / "machine")
    alter(store, two[0], name)
    engine = ThroughStore(in_this_process, store)
    results = {result.task.id: result for result in engine.run(two)}
    assert [results[spec.id].error for spec in two] == [None, None]
    assert [results[spec.id].reused for spec in two] == [False, True]
    expected = bits(two[0].output)
    shutil.rmtree(two[0].folder)
    assert [result.reused for result in engine.run(two)] == [True, True]
    assert bits(two[0].output) == expected


def test_a_slice_replaces_a_proxy_whose_record_is_damaged(store: Store, two, tmp_path, in_this_process):
    for spec in two:
        done_through(store, spec, tmp_path / "machine")
    alter(store, two[0], "proxy.json")
    results = {result.task.id: result for result in train_from(store, two, tmp_path / "other", in_this_process)}
    assert [results[spec.id].error for spec in two] == [None, None]
    assert [results[spec.id].reused for spec in two] == [False, True]
    store.get_proxy(two[0].output)


def test_an_evaluation_of_a_damaged_proxy_drops_it_from_the_store(store: Store, two, tmp_path):
    done_through(store, two[0], tmp_path / "machine")
    alter(store, two[0])
    target = two[0].targets["code"]
    asked = EvaluationSpec(proxy=two[0].output, target="code", tokens=target, folder=tmp_path / "losses", device="cpu")
    with pytest.raises(ProxyError, match="altered") as caught:
        done_through(store, asked, tmp_path / "other")
    assert acts_on(caught.value, two[0].id)
    assert not store.has_proxy(two[0])


def test_a_shard_that_is_missing_at_home_stops_its_proxies_alone(store: Store, two, tmp_path, in_this_process):
    gone = {name: file.model_copy(update={"path": tmp_path / f"{name}.gone"}) for name, file in two[0].shards.items()}
    bad = two[0].model_copy(update={"shards": gone})
    results = {result.task.id: result for result in ThroughStore(in_this_process, store).run([bad, two[1]])}
    assert acts_on(results[bad.id].error, "gone", bad.id)
    assert results[two[1].id].error is None
    assert store.has_proxy(two[1])


def test_a_shard_that_the_store_lacks_stops_its_proxies_alone(store: Store, two, tmp_path, in_this_process):
    other = two[0].shards["web"].model_copy(update={"version": "unknown"})
    bad = two[0].model_copy(update={"shards": two[0].shards | {"web": other}})
    results = {result.task.id: result for result in train_from(store, [bad, two[1]], tmp_path / "m", in_this_process)}
    assert isinstance(results[bad.id].error, TokenError)
    assert acts_on(results[bad.id].error, "unknown")
    assert results[bad.id].value == {}
    assert results[two[1].id].error is None
    assert store.has_proxy(two[1])


@pytest.mark.parametrize("way", ["home", "slice"])
@pytest.mark.parametrize("broken", ["has", "put"])
def test_an_error_of_the_store_is_that_of_one_proxy(
    store: Store, two, tmp_path, in_this_process, monkeypatch, way, broken
):
    real = getattr(store, broken)

    def failing(*parts):
        if two[0].id in parts:
            raise PermissionError("access denied")
        return real(*parts)

    monkeypatch.setattr(store, broken, failing)
    if way == "home":
        found = ThroughStore(in_this_process, store).run(two)
    else:
        found = train_from(store, two, tmp_path / "machine", in_this_process)
    results = {result.task.id: result for result in found}
    assert acts_on(results[two[0].id].error, "access denied", two[0].id)
    assert results[two[0].id].value == {}
    assert results[two[1].id].error is None
    assert store.has_proxy(two[1])


@pytest.mark.parametrize("way", ["home", "slice"])
def test_a_failed_proxy_is_never_handed_over(store: Store, two, tmp_path, in_this_process, way):
    """Nor is a folder of its name, should there be one."""
    diverging = two[0].model_copy(update={"training": two[0].training.model_copy(update={"learning_rate": 1e30})})
    specs = [diverging, two[1]]
    if way == "home":
        results = list(ThroughStore(in_this_process, store).run(specs))
    else:
        results = list(train_from(store, specs, tmp_path / "machine", in_this_process))
    errors = {result.task.id: result.error for result in results}
    assert isinstance(errors[diverging.id], ProxyError)
    assert "loss is" in str(errors[diverging.id])  # its own error, not one of the handing over
    assert errors[two[1].id] is None
    assert not store.files.exists(store.place("proxies", diverging.id))


def test_weights_that_were_altered_here_are_not_put_there(store: Store, two):
    train_proxy(two[0])
    weights = two[0].output / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ProxyError, match="altered") as caught:
        store.put_proxy(two[0].output)
    assert acts_on(caught.value, two[0].id)
    assert not store.files.exists(store.place("proxies", two[0].id))
    assert not two[0].output.exists()
    train_proxy(two[0])
    store.put_proxy(two[0].output)
    assert store.has_proxy(two[0])


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_watch_survives_whatever_goes_wrong(store: Store, two, monkeypatch, capsys):
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    real, failures = store.put, []

    def failing(path, *parts):
        if len(failures) < 2:
            failures.append(parts)
            raise RuntimeError("no answer")
        real(path, *parts)

    monkeypatch.setattr(store, "put", failing)
    place = watch.snapshot_place(two[0])
    with Watch(store, two):
        two[0].folder.mkdir(parents=True)
        two[0].snapshot.write_bytes(b"a snapshot")
        until(lambda: store.has(*place))
    assert len(failures) == 2
    told = capsys.readouterr().err
    assert "no answer" in told
    assert two[0].id in told
    assert not list(two[0].folder.glob("*.tmp"))


def test_a_proxy_that_is_handed_over_is_watched_no_more(store: Store, two, tmp_path, in_this_process, monkeypatch):
    """A snapshot that appears when the store's is removed, as one put at that moment would, stays out of the store."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    real, appeared = store.remove, []

    def removing(*parts):
        real(*parts)
        if parts[-1].endswith(".snapshot"):
            here = tmp_path / "machine" / parts[0] / parts[-1]
            here.write_bytes(b"a late snapshot")
            appeared.append(parts)
            time.sleep(0.3)

    monkeypatch.setattr(store, "remove", removing)
    results = list(train_from(store, two, tmp_path / "machine", in_this_process))
    assert [result.error for result in results] == [None, None]
    assert len(appeared) == 2
    assert not [parts for parts in appeared if store.has(*parts)]


def test_leaving_waits_for_what_is_on_its_way(store: Store, two, monkeypatch):
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    begun, real, ended = threading.Event(), store.put, []

    def slow(path, *parts):
        begun.set()
        time.sleep(0.3)
        real(path, *parts)
        ended.append(parts)

    monkeypatch.setattr(store, "put", slow)
    with Watch(store, two) as watching:
        two[0].folder.mkdir(parents=True)
        two[0].snapshot.write_bytes(b"a snapshot")
        assert begun.wait(20)
        watching.leave(two[0])
        assert ended == [watch.snapshot_place(two[0])]
