"""Finished proxies in experiment trackers, read back by each tracker's own reader, or from its files."""

import contextlib
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
from regmix_pipeline.proxies.integrity import is_step, trajectory_of
from regmix_pipeline.proxies.tracked import Sender, send_and_say, sender_of, tracked_run
from regmix_pipeline.proxies.train import train_proxy
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
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    place = workspace("tensorboard")
    sender = Sender(place)
    assert sender.send(proxy) == {}
    events = EventAccumulator(str(place.home / "tensorboard" / "tiny" / proxy.name)).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses_of(proxy))
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
    from wandb.proto.wandb_internal_pb2 import Record

    for name in ("HTTP_PROXY", "HTTPS_PROXY"):  # whoever tried to reach a server would fail
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    place = workspace("wandb", wandb={"mode": "offline"})
    assert Sender(place).send(proxy) == {}
    (file,) = (place.home / "wandb").rglob("*.wandb")
    records = [Record.FromString(content) for content in records_in(file.read_bytes())]
    (run,) = {record.run.run_id: record.run for record in records if record.WhichOneof("record_type") == "run"}.values()
    assert (run.run_group, run.display_name, run.project) == ("tiny", proxy.name, "regmix")
    assert list(run.tags) == ["code=0.600", "web=0.250", "books=0.150"]
    history = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    rows = [{item.key or item.nested_key[-1]: item.value_json for item in row.item} for row in history]
    assert [float(row["train/loss"]) for row in rows] == pytest.approx(losses_of(proxy))


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
    sender = sender_of(place)
    for _ in range(2):
        send_and_say(sender, proxy)
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
def test_mlflow_has_the_curves_on_its_own_server(proxy, workspace, mlflow_server):
    from mlflow import MlflowClient

    place = workspace("mlflow", mlflow={"uri": mlflow_server})
    for _ in range(2):
        assert Sender(place, again=True).send(proxy) == {}
    client = MlflowClient(mlflow_server)
    (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert run.data.tags["weight.code"] == "0.600000"
    assert run.data.tags["regmix.study"] == "tiny"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [metric.value for metric in history] == pytest.approx(losses_of(proxy))
    assert {*SERIES, "loss/books"} <= run.data.metrics.keys()
