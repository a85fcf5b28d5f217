"""A proxy that leaves a landmark leaves it in the store too, whoever trains it and whichever machines are lost."""

from __future__ import annotations

import shutil
import threading

import pytest

from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.proxies.workers import watch
from regmix_pipeline.proxies.workers.choose import ThroughStore
from regmix_pipeline.proxies.workers.remote import done_through
from regmix_pipeline.proxies.workers.store import Store, folders_of

STOP = 5


@pytest.fixture
def task(checked, put_tokens):
    """Twelve steps, and a landmark after the fifth."""
    made = checked(landmark=STOP, snapshot_seconds=0.0)
    put_tokens(made)
    return made


@pytest.fixture
def lost_past_landmark(store: Store, task, tmp_path, monkeypatch):
    """A machine dies once a snapshot past the landmark is in the store; returns what was put, in order."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    past, order, real, step = threading.Event(), [], store.put, TrainingLoop.step

    def noted(path, *parts):
        late = parts[-1].endswith(".snapshot") and watch.is_past_landmark(task, path)
        real(path, *parts)
        order.append((*parts[1:-1], "late snapshot" if late else parts[-1]))
        if late:
            past.set()

    def dying(trainer):
        if trainer.taken == STOP + 2 and past.wait(20):
            raise KeyboardInterrupt
        step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", noted)
        patch.setattr(TrainingLoop, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            done_through(store, task, tmp_path / "lost")
    return order


def test_the_next_machine_finds_the_landmark_that_a_lost_one_had_written(
    store: Store, task, lost_past_landmark, tmp_path, at_home, bits
):
    landmark, _ = folders_of(task)
    order = lost_past_landmark
    assert order.index((landmark.id, "proxy.json")) < order.index(("late snapshot",))
    assert not store.has_proxy(task)
    value = done_through(store, task, tmp_path / "second")
    assert value["continued_from_step"] >= STOP
    assert store.has_proxy(task)
    for each in folders_of(task):
        store.get_proxy(each.output)
    assert {each.id: bits(each.output) for each in folders_of(task)} == at_home([landmark, task])


def test_a_snapshot_past_a_landmark_that_nobody_has_is_not_continued(store: Store, task, lost_past_landmark, tmp_path):
    landmark, _ = folders_of(task)
    assert lost_past_landmark
    store.drop_proxy(landmark.output)
    value = done_through(store, task, tmp_path / "second")
    assert value["continued_from_step"] == 0
    assert store.has_folder(landmark.output)
    assert store.has_proxy(task)


def test_a_machine_that_once_trained_it_without_landmark_makes_one(store: Store, task, tmp_path):
    plain = task.model_copy(update={"landmark": None})
    done_through(store, plain, tmp_path / "machine")
    assert store.has_proxy(plain)
    assert not store.has_proxy(task)
    done_through(store, task, tmp_path / "machine")
    assert store.has_proxy(task)


def test_landmarks_go_from_home_to_home(store: Store, task, in_this_process):
    first = ThroughStore(in_this_process, store)
    assert [(result.error, result.reused) for result in first.run([task])] == [(None, False)]
    assert store.has_proxy(task)
    shutil.rmtree(task.folder)
    assert [(result.error, result.reused) for result in first.run([task])] == [(None, True)]
    assert all(each.is_finished for each in folders_of(task))


def test_a_finished_proxy_fetches_the_landmark_it_lacks(store: Store, task, in_this_process):
    engine = ThroughStore(in_this_process, store)
    list(engine.run([task]))
    landmark, _ = folders_of(task)
    shutil.rmtree(landmark.output)
    assert [(result.error, result.reused) for result in engine.run([task])] == [(None, True)]
    assert landmark.is_finished


def test_a_home_whose_proxy_has_no_landmark_goes_on_without(store: Store, task, in_this_process):
    engine = ThroughStore(in_this_process, store)
    list(engine.run([task.model_copy(update={"landmark": None})]))
    assert [(result.error, result.reused) for result in engine.run([task])] == [(None, True)]
