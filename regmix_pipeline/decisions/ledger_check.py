"""Whether the ledger says what the records and parts say that it is built from."""

from __future__ import annotations

from collections.abc import Collection, Set

import duckdb

from regmix_pipeline.decisions.links import Difference, Link
from regmix_pipeline.engine.ledger import build_ledger
from regmix_pipeline.engine.plain import plain_folder, to_read
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.engine.workspace import Workspace

LEDGER = "ledger"


def ledger_link(workspace: Workspace, damaged: Collection[str], lost: Set[str] = frozenset()) -> Link:
    """The ledger's tables against those of one that is built again.

    Args:
        workspace: the study on disk; its ledger was built from the records as they are.
        damaged: files that are known to be altered or gone; tables that they are parts of say nothing.
        lost: assets of which a record is gone: which parts it named is not known, so their tables say nothing either.
    """
    names = [
        name
        for name, table in TABLES.items()
        if not lost & set(table.assets) and not any(each.startswith(f"tables/{name}/") for each in damaged)
    ]
    if not lost and not any(each.startswith("records/") for each in damaged):
        names += ["records", "lineage"]
    link = Link(LEDGER, len(names), 1)
    with plain_folder() as folder, to_read(workspace.ledger) as held, duckdb.connect() as connection:
        try:
            fresh = build_ledger(workspace.records, workspace.path("tables"), folder / "ledger.duckdb")
            for name, file in (("held", held), ("fresh", fresh)):
                connection.execute(f"attach '{str(file).replace(chr(39), 2 * chr(39))}' as {name} (read_only)")
            for name in names:
                if _differ(connection, name):
                    what = f"table {name} is not what its parts on record say; `regmix run` builds it again"
                    link.differences.append(Difference(LEDGER, "altered", what))
        except duckdb.Error as error:
            if not damaged:
                link.differences.append(Difference(LEDGER, "altered", str(error).partition("\n")[0]))
    return link


def _differ(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    one, other = f"from held.{table}", f"from fresh.{table}"
    query = f"select exists({one} except all {other}) or exists({other} except all {one})"
    return bool(connection.execute(query).fetchall()[0][0])
