"""The ledger's tables as a Dagster resource, for checks: from the files on record, whose checksums are compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import dagster as dg
import duckdb

from regmix_pipeline.resources.workspace import WorkspaceResource
from regmix_pipeline.stages import known_to


class LedgerResource(dg.ConfigurableResource):
    """What holds now of the ledger's tables; the DuckDB file itself is for people."""

    workspace: WorkspaceResource

    @contextmanager
    def read(self, stage: str, *tables: str, ever: Collection[str] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database in memory with the views ``current_<table>`` of some tables, and ``<table>`` of those in ``ever``,
        for a check of a stage: rows of what it is made from and of itself.

        Raises:
            LedgerError: a file on record is gone or was altered.
        """
        with self.workspace.open().tables(*tables, ever=ever, assets=known_to(stage)) as connection:
            yield connection
