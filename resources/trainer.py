"""How proxies are trained: how many at once."""

from __future__ import annotations

import dagster as dg


class TrainerResource(dg.ConfigurableResource):
    """Local worker processes, one thread each on a CPU.

    Attributes:
        workers: processes that train at once; 0 takes the study's number, or one per core.
    """

    workers: int = 0
