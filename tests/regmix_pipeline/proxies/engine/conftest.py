"""Stores: a folder, and a real S3 server in this process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regmix_pipeline.proxies.engine.store import Store
from regmix_pipeline.proxies.spec import ProxySpec

Bits = dict[str, bytes]


def _bits(folder: Path) -> Bits:
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "trajectory.parquet")}


@pytest.fixture
def bits() -> Callable[[Path], Bits]:
    """What of a proxy's folder must be the same wherever it was trained."""
    return _bits


@pytest.fixture
def at_home(tmp_path: Path) -> Callable[[list[ProxySpec]], dict[str, Bits]]:
    """Proxy id -> its bits, trained in local workers."""
    from regmix_pipeline.proxies.trainer import LocalTrainer

    def trained(specs: list[ProxySpec]) -> dict[str, Bits]:
        here = [spec.model_copy(update={"folder": tmp_path / "home" / "proxies"}) for spec in specs]
        assert not [result.error for result in LocalTrainer(2).run(here) if result.error]
        return {spec.id: _bits(spec.output) for spec in here}

    return trained


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Address of a bucket; keys and endpoint are in the environment, where s3fs looks for them."""
    from moto.server import ThreadedMotoServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("FSSPEC_S3_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        import s3fs

        s3fs.S3FileSystem(endpoint_url=endpoint).mkdir("mixtures")
        yield "s3://mixtures"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store, on a disk and on S3."""
    address = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3")
    return Store(f"{address}/{tmp_path.name}")
