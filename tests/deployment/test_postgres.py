"""Dagster's own storage on a real PostgreSQL server, configured as docs/how-to-deploy.md says."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import dagster as dg
import pytest
import yaml

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.tokens.stage import DOMAIN_INVENTORY, TOKEN_SHARDS, TOKENIZER

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
ROOT = Path(__file__).parents[2]


def as_server(command):
    """The server refuses to run as root, so a root user becomes postgres for it."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a database on a server of this test's own."""
    if not BINARIES:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("dagster_postgres")
    folder = tmp_path_factory.mktemp("postgres")
    if os.geteuid() == 0:
        for place in (folder, *folder.parents):
            if not place.stat().st_mode & 0o001:
                place.chmod(place.stat().st_mode | 0o055)  # the server has to get through
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True, "cwd": "/"}
    control = [str(BINARIES[-1] / "pg_ctl"), "-D", str(folder / "data")]
    subprocess.run(
        as_server([str(BINARIES[-1] / "initdb"), "-D", str(folder / "data"), "-U", "dagster", "-A", "trust"]), **quiet
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    subprocess.run(as_server([*control, "-w", "-l", str(folder / "log"), "-o", options, "start"]), **quiet)
    yield f"postgresql://dagster@127.0.0.1:{port}/postgres"
    subprocess.run(as_server([*control, "-m", "immediate", "stop"]), **quiet)


def documented_storage():
    """The block of dagster.yaml that the documentation gives."""
    text = (ROOT / "docs" / "how-to-deploy.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    (storage,) = [block for block in blocks if "storage" in block]
    return storage


def test_runs_and_events_are_in_postgres_and_survive_the_process(server, study_file, monkeypatch):
    import psycopg2

    monkeypatch.setenv("DAGSTER_POSTGRES_URL", server.replace("postgresql:", "postgresql+psycopg2:"))
    home = study_file.parent / "home"
    shipped = yaml.safe_load((ROOT / "resources" / "dagster.yaml").read_text())
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(shipped | documented_storage()))
    stages = (DOMAINS, DOCUMENTS, TOKENIZER, TOKEN_SHARDS, DOMAIN_INVENTORY)
    run_stale(Workspace(study_file, home, say=lambda line: None), stages)
    assert not list((home / "dagster").rglob("*.db")), "SQLite files beside Postgres"
    with psycopg2.connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from runs where status = 'SUCCESS'")
        assert cursor.fetchone() == (1,)
        cursor.execute("select count(*) from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION'")
        assert cursor.fetchone()[0] >= 4
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey(["tiny", "domain_inventory"])) is not None
        assert set(instance.get_dynamic_partitions("tiny/domain")) == {"code", "licences", "descriptions", "science"}
        assert instance.get_runs_count() == 1
