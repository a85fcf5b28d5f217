"""Proxies in experiment trackers, read back by each tracker's own reader, or from its files."""

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import pytest

from regmix_pipeline.errors import StudyError
from regmix_pipeline.proxies.device import device_of
from regmix_pipeline.proxies.following import Following, following
from regmix_pipeline.proxies.integrity import is_step, trajectory_of
from regmix_pipeline.proxies.tracked import Sender, sender_of, tracked_run
from regmix_pipeline.proxies.train import TrainingRun, train_proxy
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.study.settings.proxies import TrainingSettings
from regmix_pipeline.study.settings.tracking import TrackingSettings

NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
SERIES = ("train/loss", "train/gradient_norm", "train/learning_rate", "train/tokens_per_second")


@pytest.fixture
def proxy(spec_of):
    """The folder of a finished proxy."""
    spec = spec_of()
    train_proxy(spec)
    return spec.output


@pytest.fixture
def workspace(tmp_path):
    """``workspace(to, options)``: what a sender looks at of a study."""
    said = []

    def make(*to, **options):
        study = SimpleNamespace(name="tiny", tracking=TrackingSettings(to=to, options=options))
        return SimpleNamespace(study=study, home=tmp_path / "home", say=said.append, said=said)

    return make


def losses_of(folder):
    return [row["training_loss"] for row in trajectory_of(folder) if is_step(row)]


def test_a_run_has_every_step_and_the_mixture(proxy):
    run = tracked_run(proxy, "tiny")
    series = list(run.series())
    assert [step for step, _ in series] == list(range(1, 13))
    assert [values["train/loss"] for _, values in series] == losses_of(proxy)
    assert "loss/books" in series[-1][1]
    assert run.tags == ["code=0.600", "web=0.250", "books=0.150"]
    assert run.last().keys() == {*SERIES, "loss/books", "loss/code"}


def test_tensorboard_shows_curves_and_weights(proxy, workspace):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    place = workspace("tensorboard")
    sender = Sender(place)
    assert sender.send(proxy) == {}
    assert_has(tensorboard_steps(place.home, proxy.name), proxy)
    events = tensorboard_events(place.home, proxy.name)
    assert {*SERIES, "loss/books", "loss/code"} <= set(events.Tags()["scalars"])
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    shown = HParamsPluginData.FromString(content).session_start_info.hparams
    assert shown["weight/code"].number_value == 0.6


def test_a_proxy_is_sent_once(proxy, workspace):
    place = workspace("tensorboard")
    for _ in range(2):
        assert Sender(place).send(proxy) == {}
    folder = place.home / "tensorboard" / "tiny" / proxy.name
    written = {path.name for path in folder.iterdir()}
    Sender(place).send(proxy)
    assert {path.name for path in folder.iterdir()} == written
    Sender(place, again=True).send(proxy)
    assert {path.name for path in folder.iterdir()} != written


def test_wandb_offline_has_group_tags_and_history(proxy, workspace, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):  # whoever tried to reach a server would fail
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    place = workspace("wandb", wandb={"mode": "offline"})
    assert Sender(place).send(proxy) == {}
    records = wandb_records(place.home)
    (run,) = {record.run.run_id: record.run for record in records if record.WhichOneof("record_type") == "run"}.values()
    assert (run.run_group, run.display_name, run.project) == ("tiny", proxy.name, "regmix")
    assert list(run.tags) == ["code=0.600", "web=0.250", "books=0.150"]
    assert_has(wandb_steps(place.home, proxy.name), proxy)


def wandb_records(home):
    """Records of the only run that was written offline."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # its service has written all that it was sent once it has ended
    (file,) = (home / "wandb").rglob("*.wandb")
    return [Record.FromString(content) for content in records_in(file.read_bytes())]


def wandb_steps(home, proxy):
    """Step and loss of each row of the history."""
    history = [record.history for record in wandb_records(home) if record.WhichOneof("record_type") == "history"]
    rows = [{item.key or item.nested_key[-1]: json.loads(item.value_json) for item in row.item} for row in history]
    return [(row["_step"], row["train/loss"]) for row in rows]


def tensorboard_events(home, proxy):
    """TensorBoard's own reader of a proxy's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(home / "tensorboard" / "tiny" / proxy), {"scalars": 0}).Reload()


def tensorboard_steps(home, proxy):
    """Step and loss of each event."""
    events = tensorboard_events(home, proxy)
    return [(event.step, event.value) for event in events.Scalars("train/loss")]


def assert_has(found, proxy):
    """Every step once, with its loss."""
    assert [step for step, _ in found] == list(range(1, len(losses_of(proxy)) + 1))
    assert [loss for _, loss in found] == pytest.approx(losses_of(proxy))


def records_in(content):
    """Records of an offline run's file, which has the format of LevelDB's logs behind a header of 7 bytes."""
    place, whole = 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def test_what_cannot_be_reached_does_not_stop_the_study(proxy, workspace):
    place = workspace("mlflow", "tensorboard", mlflow={"uri": "databricks://nowhere"})
    with following(place, []) as trackers:
        for _ in range(2):
            trackers.finished(proxy)
    assert len(place.said) == 1
    assert place.said[0].startswith(f"  mlflow did not take {proxy.name}: ")
    assert (place.home / "tensorboard" / "tiny" / proxy.name).is_dir()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("tensorboard", {"fold": "x"}, "'fold' is not an option"),
        ("nowhere:Tracker", {}, "cannot be imported"),
    ],
)
def test_what_is_wrong_with_a_tracker_is_said(workspace, name, options, said):
    place = workspace(name, **{name: options})
    with pytest.raises(StudyError, match=said):
        Sender(place)
    assert sender_of(place) is None
    assert said in place.said[0]


def test_a_tracker_of_ones_own(proxy, workspace, tmp_path, monkeypatch):
    (tmp_path / "own_tracker.py").write_text(
        "class Lines:\n"
        "    def __init__(self, study, home, options):\n"
        "        self.path = home.parent / options['file']\n"
        "    def send(self, run):\n"
        "        with self.path.open('a') as file:\n"
        "            print(run.study, run.proxy, run.tags[0], file=file)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    Sender(workspace("own_tracker:Lines", **{"own_tracker:Lines": {"file": "lines.txt"}})).send(proxy)
    assert (tmp_path / "lines.txt").read_text() == f"tiny {proxy.name} code=0.600\n"


LONGER = TrainingSettings(tokens=16 * 8 * 60, windows_per_step=8, learning_rate=1e-2, warmup_steps=2)
KILLED = """
import os, pathlib, signal, sys
from types import SimpleNamespace

from regmix_pipeline.proxies.device import device_of
from regmix_pipeline.proxies.following import Following
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.tracked import Sender
from regmix_pipeline.study.settings.tracking import TrackingSettings

spec, tracking, home = sys.argv[1:]
study = SimpleNamespace(name="tiny", tracking=TrackingSettings.model_validate_json(tracking))
sender = Sender(SimpleNamespace(study=study, home=pathlib.Path(home), say=print))
Following(sender, [ProxySpec.model_validate_json(spec)]).look()
assert set(sender.trackers) == set(study.tracking.to)
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A run that sends the steps so far, and is killed."""


def trained_with_kills(spec, place):
    """Train and send a proxy: two runs are killed after they sent some steps, and a training begins again before the
    steps that were sent last."""

    def sent_and_killed():
        words = [spec.model_dump_json(), place.study.tracking.model_dump_json(), str(place.home)]
        # W&B's service belongs to the run that is killed, not to this process.
        own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True, env=own)
        assert done.returncode == -9, done.stdout + done.stderr

    first = TrainingRun(spec, device_of("cpu"))
    advance(first, 20)
    sent_and_killed()
    snapshot = spec.snapshot.read_bytes()
    advance(first, 40)
    sent_and_killed()
    spec.snapshot.write_bytes(snapshot)
    second = TrainingRun(spec, device_of("cpu"))
    assert second.continued == 20
    trackers = Following(Sender(place), [spec])
    advance(second, 50)
    trackers.look()
    advance(second, 60)
    second.finished()
    assert trackers.sender.send(spec.output) == {}


def advance(run, step):
    """Take a training to a step."""
    while run.trainer.taken < step:
        run.trainer.step()
        run.after_step()


def test_runs_that_are_killed_send_no_step_twice(spec_of, workspace):
    place = workspace("tensorboard", "wandb", wandb={"mode": "offline"})
    spec = spec_of(training=LONGER, snapshot_seconds=0.0)
    trained_with_kills(spec, place)
    assert_has(tensorboard_steps(place.home, spec.id), spec.output)
    assert_has(wandb_steps(place.home, spec.id), spec.output)


def test_steps_are_sent_while_workers_train(spec_of, workspace, tmp_path, monkeypatch):
    (tmp_path / "own_live_tracker.py").write_text(
        "class Steps:\n"
        "    live = True\n"
        "    seen = []\n"
        "    def __init__(self, study, home, options):\n"
        "        pass\n"
        "    def send(self, run):\n"
        "        self.seen.append((run.finished, run.last_step))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("regmix_pipeline.proxies.following.LOOK_SECONDS", 0.01)
    spec = spec_of(training=LONGER.model_copy(update={"tokens": 16 * 8 * 1000}))
    with following(workspace("own_live_tracker:Steps"), [spec]) as trackers:
        for result in LocalExecutor(1).run([spec]):
            assert result.error is None
            trackers.finished(spec.output)
    from own_live_tracker import Steps

    *before, last = Steps.seen
    assert last == (True, 1000)
    assert before
    assert all(not finished and step < 1000 for finished, step in before)


def test_steps_are_sent_while_a_proxy_trains(spec_of, workspace):
    place, spec = workspace("tensorboard"), spec_of(training=LONGER)
    trackers = Following(Sender(place), [spec])
    run = TrainingRun(spec, device_of("cpu"))
    seen = []
    for step in (20, 50, 51):
        advance(run, step)
        trackers.look()
        seen.append(tensorboard_steps(place.home, spec.id))
    advance(run, 60)
    run.finished()
    assert [len(steps) for steps in seen] == [16, 48, 48]
    assert not list(spec.folder.glob(".*.steps.jsonl*"))
    assert Sender(place).send(spec.output) == {}
    assert_has(tensorboard_steps(place.home, spec.id), spec.output)
    assert [loss for _, loss in seen[1]] == pytest.approx(losses_of(spec.output)[:48])


@pytest.fixture
def mlflow_server(tmp_path):
    """The address of MLflow's own tracking server, on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    words = ["server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", str(tmp_path / "a")]
    command = [sys.executable, "-m", "mlflow", *words]
    with (tmp_path / "mlflow.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | NO_JOBS, start_new_session=True)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            assert process.poll() is None, (tmp_path / "mlflow.log").read_text()[-3000:]
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


@pytest.mark.consumers
def test_mlflow_has_the_curves_on_its_own_server(proxy, spec_of, workspace, mlflow_server):
    from mlflow import MlflowClient

    place = workspace("mlflow", mlflow={"uri": mlflow_server})
    for _ in range(2):
        assert Sender(place, again=True).send(proxy) == {}
    client = MlflowClient(mlflow_server)
    (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert run.data.tags["weight.code"] == "0.600000"
    assert run.data.tags["regmix.study"] == "tiny"
    assert (run.info.status, run.data.params["steps"]) == ("FINISHED", "12")
    assert {*SERIES, "loss/books"} <= run.data.metrics.keys()
    assert_has(mlflow_steps(client, run), proxy)
    spec = spec_of(training=LONGER, snapshot_seconds=0.0)
    trained_with_kills(spec, place)
    (run,) = client.search_runs([run.info.experiment_id], f"tags.`regmix.proxy` = '{spec.id}'")
    assert_has(mlflow_steps(client, run), spec.output)
    for name in ("loss/books", "train/gradient_norm"):
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
        assert len(set(steps)) == len(steps)


def mlflow_steps(client, run):
    """Step and loss of each measurement, as the server has them."""
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "train/loss")]
