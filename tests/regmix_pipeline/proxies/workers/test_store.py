"""Shards, proxies and snapshots through a store: complete or absent, checked, and the same bits as at home."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from regmix_pipeline.errors import ProxyError, StudyError, TokenError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.proxies.spec import EvaluationSpec
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.proxies.workers import watch
from regmix_pipeline.proxies.workers.choose import ThroughStore
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.proxies.workers.remote import done_through
from regmix_pipeline.proxies.workers.slices import of_slice, parsed_slice, train_from
from regmix_pipeline.proxies.workers.store import Store
from regmix_pipeline.study.settings.workers import EngineSettings
from regmix_pipeline.tokens.extents import TokensIn, write_extents


def tokens_of(spec):
    return [*spec.shards.values(), *spec.targets.values()]


def test_a_proxy_trained_through_the_store_is_the_same_to_the_bit(store: Store, checked, tmp_path, at_home, bits):
    task = checked()
    expected = at_home([task])
    store.put_tokens(tokens_of(task))
    value = done_through(store, task, tmp_path / "machine")
    assert value["id"] == task.id
    assert store.has_proxy(task)
    assert not task.is_finished
    store.get_proxy(task.output)
    assert {task.id: bits(task.output)} == expected
    # Another machine finds it, and trains nothing.
    assert done_through(store, task, tmp_path / "other") == value
    assert not (tmp_path / "other").exists()


def test_a_proxy_of_a_later_phase_goes_on_elsewhere_from_the_model_in_the_store(
    store: Store, checked, tmp_path, at_home, bits, in_this_process
):
    training = checked().training
    start = checked(mixture={"web": 1_000_000}, steps_after=12, training=training, folder=tmp_path / "phases")
    task = checked(start=start)
    store.put_tokens(tokens_of(task))
    with pytest.raises(ProxyError, match="the store does not hold it"):
        done_through(store, task, tmp_path / "machine")
    expected = at_home([task])  # which trains the earlier phase
    store.put_proxy(start.output)
    done_through(store, task, tmp_path / "machine")
    store.get_proxy(task.output)
    assert {task.id: bits(task.output)} == expected
    # The study's home hands the model over by itself.
    other = checked(start=start, mixture={"code": 1_000_000})
    engine = ThroughStore(in_this_process, store)
    assert [result.error for result in engine.run([other])] == [None]
    store.drop_proxy(start.output)
    assert [result.error for result in engine.run([checked(start=start, seed=9)])] == [None]
    assert store.has_proxy(start)


def test_an_evaluation_elsewhere_needs_the_store_alone(store: Store, checked, tmp_path):
    task = checked()
    store.put_tokens(tokens_of(task))
    done_through(store, task, tmp_path / "machine")
    target = task.targets["code"]
    asked = EvaluationSpec(proxy=task.output, target="code", tokens=target, folder=tmp_path / "losses", device="cpu")
    value = done_through(store, asked, tmp_path / "other")
    assert value["proxy"] == task.id
    assert value["loss"] > 0
    # A machine that finds it fetches neither proxy nor tokens.
    assert done_through(store, asked, tmp_path / "third") == value
    assert not (tmp_path / "third").exists()


def test_the_cache_takes_no_altered_shard(store: Store, checked, tmp_path):
    task = checked()
    store.put_tokens(tokens_of(task))
    file = task.shards["web"]
    place = store.place("shards", file.version, file.path.name)
    content = bytearray(store.files.cat_file(place))
    content[7] ^= 1
    store.files.pipe_file(place, bytes(content))
    with pytest.raises(TokenError, match="not the one of the manifest"):
        done_through(store, task, tmp_path / "machine")
    assert not [path for path in (tmp_path / "machine").rglob("*web*") if not path.name.endswith(".lock")]
    store.files.rm_file(place)
    with pytest.raises(TokenError, match="does not hold it"):
        done_through(store, task, tmp_path / "machine")


def test_altered_weights_in_the_store_never_reach_the_home(store: Store, checked, tmp_path):
    task = checked()
    store.put_tokens(tokens_of(task))
    done_through(store, task, tmp_path / "machine")
    place = store.place("proxies", task.id, "model.safetensors")
    store.files.pipe_file(place, store.files.cat_file(place)[:-4] + b"\0\0\0\1")
    with pytest.raises(ProxyError, match="altered"):
        store.get_proxy(task.output)
    assert not task.output.exists()


def test_a_folder_without_its_commit_mark_is_not_a_proxy(store: Store, checked, tmp_path):
    task = checked()
    store.put_tokens(tokens_of(task))
    done_through(store, task, tmp_path / "machine")
    store.remove("proxies", task.id, "proxy.json")
    assert not store.has_proxy(task)
    done_through(store, task, tmp_path / "machine")
    assert store.has_proxy(task)


def test_a_training_whose_machine_is_lost_goes_on_at_another(
    store: Store, checked, tmp_path, monkeypatch, at_home, bits
):
    """The first machine dies after a snapshot has reached the store; the second continues from there."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    task = checked(snapshot_seconds=0.0)
    expected = at_home([task])
    store.put_tokens(tokens_of(task))
    put, real = threading.Event(), store.put

    def noted(path, *parts):
        real(path, *parts)
        if parts[-1].endswith(".snapshot"):
            put.set()

    monkeypatch.setattr(store, "put", noted)
    step, steps = TrainingLoop.step, []

    def dying(trainer):
        if len(steps) >= 4 and put.wait(20):
            raise KeyboardInterrupt
        steps.append(1)
        step(trainer)

    monkeypatch.setattr(TrainingLoop, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        done_through(store, task, tmp_path / "lost")
    monkeypatch.setattr(TrainingLoop, "step", step)
    value = done_through(store, task, tmp_path / "second")
    assert value["continued_from_step"] > 0
    store.get_proxy(task.output)
    assert {task.id: bits(task.output)} == expected
    assert not store.has("proxies", task.snapshot.name)


def test_what_the_store_holds_is_fetched_and_what_is_made_at_home_is_put_there(store: Store, checked, tmp_path):
    first, second = checked(seed=1), checked(seed=2)
    store.put_tokens(tokens_of(first))
    done_through(store, first, tmp_path / "machine")
    results = {result.task.id: result for result in ThroughStore(LocalExecutor(1), store).run([first, second])}
    assert results[first.id].reused
    assert not results[second.id].reused
    assert first.is_finished
    assert store.has_proxy(second)


def test_three_slices_train_every_proxy_once_and_the_same(
    store: Store, checked, tmp_path, at_home, bits, in_this_process
):
    tasks = sorted((checked(seed=seed) for seed in range(7)), key=lambda task: task.id)
    expected = at_home(tasks)
    store.put_tokens(tokens_of(tasks[0]))
    trained = []
    for number in (1, 2, 3):
        mine = of_slice(tasks, number, 3)
        engine = in_this_process if number == 1 else LocalExecutor(1, stack=number)
        results = list(train_from(store, mine, tmp_path / f"machine{number}", engine))
        assert [result.error for result in results] == [None] * len(mine)
        trained += [result.task.id for result in results if not result.reused]
    assert sorted(trained) == [task.id for task in tasks]
    again = list(train_from(store, tasks, tmp_path / "machine1", LocalExecutor(1)))
    assert all(result.reused for result in again)
    for task in tasks:
        store.get_proxy(task.output)
    assert {task.id: bits(task.output) for task in tasks} == expected


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", ""])
def test_a_slice_is_one_of_some(text):
    with pytest.raises(StudyError, match="is not a slice"):
        parsed_slice(text)


def test_the_environment_goes_before_the_study():
    study = EngineSettings(kind="local", store="/shared")
    assert study.overridden({}) == study
    said = study.overridden({"REGMIX_ENGINE": "ray", "REGMIX_GPUS_PER_PROXY": "0.25", "REGMIX_STORE": "s3://bucket/x"})
    assert (said.kind, said.gpus_per_proxy, said.store) == ("ray", 0.25, "s3://bucket/x")
    with pytest.raises(StudyError, match="REGMIX_ENGINE"):
        study.overridden({"REGMIX_ENGINE": "moon"})
    with pytest.raises(StudyError, match="REGMIX_GPUS_PER_PROXY"):
        study.overridden({"REGMIX_GPUS_PER_PROXY": "many"})
    json.dumps(said.model_dump(mode="json"))


def test_an_unknown_kind_of_address_names_the_package():
    with pytest.raises((ProxyError, ValueError), match="nowhere"):
        Store("nowhere://bucket/x")


def test_tokens_that_are_read_in_place_go_into_the_store_as_one_file(store: Store, checked, tmp_path, at_home, bits):
    task = checked()
    expected = at_home([task])
    shards = {name: in_place(file, tmp_path / name) for name, file in task.shards.items()}
    here = task.model_copy(update={"shards": shards})
    assert here.id == task.id
    store.put_tokens(tokens_of(here))
    done_through(store, here, tmp_path / "machine")
    store.get_proxy(here.output)
    assert {here.id: bits(here.output)} == expected


def in_place(file, folder):
    """The same tokens as two extents of a file that holds others before, between and behind them."""
    folder.mkdir()
    tokens = np.fromfile(file.path, np.dtype(file.dtype).newbyteorder("<"))
    other, half = tokens[:5], len(tokens) // 2
    held = np.concatenate([other, tokens[half:], other, tokens[:half], other])
    held.tofile(folder / "all.npy")
    extents = [(0, len(tokens) - half + 10, half), (0, 5, len(tokens) - half)]
    size = (folder / "all.npy").stat().st_size
    write_extents(folder / "train.extents", file.dtype, [TokensIn(folder / "all.npy", 0, len(held), size, "")], extents)
    sha256 = sha256_of(file.path)
    return file.model_copy(update={"path": folder / "train.extents", "sha256": sha256})
