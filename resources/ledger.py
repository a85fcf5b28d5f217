"""The ledger as a Dagster resource: read-only, so that nobody is ever shut out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import duckdb

from regmix_pipeline.ledger.build import read_ledger
from resources.lab import LabResource


class LedgerResource(dg.ConfigurableResource):
    """The study's DuckDB file, opened read-only for a query and closed again."""

    lab: LabResource

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection.

        Raises:
            LedgerError: nothing was materialised yet.
        """
        with read_ledger(self.lab.open().ledger) as connection:
            yield connection
