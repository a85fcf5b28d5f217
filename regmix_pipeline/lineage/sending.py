"""Sending OpenLineage events to a receiver, by the client's own transports."""

from __future__ import annotations

import os
from collections.abc import Iterator

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import RunEvent

from regmix_pipeline.errors import LedgerError


def send_events(events: Iterator[RunEvent]) -> int:
    """Send events through the transport that OPENLINEAGE_URL, or the client's configuration file, names.

    Returns:
        How many events were sent.

    Raises:
        LedgerError: no transport is configured, or the receiver refused an event.
    """
    client = _client()
    sent = 0
    try:
        for event in events:
            client.emit(event)
            sent += 1
    except LedgerError:
        raise
    except Exception as error:  # transports raise what their own libraries do
        raise LedgerError(
            f"sending stopped after {sent} events: {error}",
            where=_receiver(),
            remedy="see whether the receiver is up and takes OpenLineage 2; sending again repeats no run",
        ) from error
    finally:
        client.close()
    return sent


def _client() -> OpenLineageClient:
    remedy = "set OPENLINEAGE_URL to the receiver, for instance http://marquez:5000, or write openlineage.yml"
    try:
        client = OpenLineageClient()
    except Exception as error:  # of its configuration
        raise LedgerError(f"OpenLineage's transport: {error}", where=_receiver(), remedy=remedy) from error
    kind = client.transport.kind
    if kind in ("console", "noop"):  # where the client ends up without configuration: nothing would be sent
        raise LedgerError("no receiver of OpenLineage events is named", where="--send", remedy=remedy)
    return client


def _receiver() -> str:
    return os.environ.get("OPENLINEAGE_URL", "OpenLineage's configuration")
