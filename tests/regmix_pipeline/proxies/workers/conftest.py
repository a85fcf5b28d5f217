"""Stores: a folder, and a bucket of the S3 server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from regmix_pipeline.errors import RegmixError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.proxies.spec import ProxySpec, TargetFile, TokenFile
from regmix_pipeline.proxies.workers.local import Result, Task, finished_results
from regmix_pipeline.proxies.workers.store import Store

Bits = dict[str, bytes]


def _bits(folder: Path) -> Bits:
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "trajectory.parquet")}


@pytest.fixture
def bits() -> Callable[[Path], Bits]:
    """What of a proxy's folder must be the same wherever it was trained."""
    return _bits


@pytest.fixture
def at_home(tmp_path: Path) -> Callable[[list[ProxySpec]], dict[str, Bits]]:
    """Proxy id -> its bits, trained in this process: workers take seconds to start."""
    from regmix_pipeline.proxies.train import train_proxy

    def trained(specs: list[ProxySpec]) -> dict[str, Bits]:
        here = [spec.model_copy(update={"folder": tmp_path / "home" / "proxies"}) for spec in specs]
        for spec in here:
            train_proxy(spec)
        return {spec.id: _bits(spec.output) for spec in here}

    return trained


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store, on a disk and on S3."""
    address = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3")
    return Store(f"{address}/{tmp_path.name}")


@pytest.fixture
def checked(
    spec_of: Callable[..., ProxySpec], shards: dict[str, TokenFile], targets: dict[str, TargetFile]
) -> Callable[..., ProxySpec]:
    """Specs whose token files carry checksums, as the pipeline's own do."""
    sums = {
        name: {key: file.model_copy(update={"sha256": sha256_of(file.path)}) for key, file in files.items()}
        for name, files in (("shards", shards), ("targets", targets))
    }
    return lambda **changes: spec_of(**(sums | changes))


@pytest.fixture
def put_tokens(store: Store) -> Callable[[ProxySpec], None]:
    """Put a proxy's shards and targets into the store."""
    return lambda spec: store.put_tokens([*spec.shards.values(), *spec.targets.values()])


class InThisProcess:
    """A trainer without worker processes, which take seconds to start."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        from regmix_pipeline.proxies.train import train_proxy

        waiting: list[Task] = []
        yield from finished_results(tasks, waiting.append)
        for task in waiting:
            assert isinstance(task, ProxySpec)
            try:
                result = Result(task, train_proxy(task))
            except RegmixError as error:
                result = Result(task, {}, error=error)
            yield result


@pytest.fixture
def in_this_process() -> InThisProcess:
    """A trainer without worker processes."""
    return InThisProcess()
