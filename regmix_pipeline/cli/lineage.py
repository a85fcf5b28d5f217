"""The command that hands a decision's lineage to other tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from regmix_pipeline.cli.app import AsJson, Home, StudyFile, answer, app, open_workspace, plain_errors
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import written_atomically


class LineageFormat(StrEnum):
    """What a chain can be context in."""

    openlineage = "openlineage"
    prov = "prov"


@app.command()
@plain_errors
def lineage(
    decision: Annotated[
        str | None,
        typer.Argument(metavar="[DECISION]", help="Its id, the start of one, or previous; default: the current one."),
    ] = None,
    format: Annotated[
        LineageFormat,
        typer.Option("--format", help="OpenLineage events, one per line; or a W3C PROV document, as JSON."),
    ] = LineageFormat.openlineage,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
    send: Annotated[
        bool, typer.Option("--send", help="Send the OpenLineage events to OPENLINEAGE_URL instead of writing them.")
    ] = False,
    collapse: Annotated[
        bool, typer.Option("--collapse", help="Fold all partitions of an asset, such as the proxies, into one step.")
    ] = False,
    namespace: Annotated[
        str | None,
        typer.Option(envvar="OPENLINEAGE_NAMESPACE", help="Namespace of OpenLineage jobs; default: regmix:<study>."),
    ] = None,
    study: StudyFile = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """The chain from a decision to its documents, in a format that other tools read.

    With --json and without --out or --send, all of it is one JSON value; with them, a summary is.
    """
    from regmix_pipeline.decisions.find import find_decision
    from regmix_pipeline.decisions.verdicts import verdicts_of
    from regmix_pipeline.lineage.chain import chain_of

    if send and format is not LineageFormat.openlineage:
        raise LedgerError("only OpenLineage events are sent", where="--send", remedy="leave out --format prov")
    if send and out:
        raise LedgerError("events are sent or written, not both", where="--out", remedy="run the command twice")
    workspace = open_workspace(study, home)
    record = find_decision(workspace, decision)
    steps, verdicts = chain_of(workspace, record, collapse=collapse), verdicts_of(workspace, record["decision"])
    said: dict[str, Any] = {"decision": record["decision"], "format": format.value}
    if format is LineageFormat.prov:
        from regmix_pipeline.lineage.prov import document_of

        document = document_of(steps, record, verdicts)
        with _opened(out) as file:
            document.serialize(file, format="json", indent=2)
            file.write("\n")
        said["records"] = len(document.records)
    else:
        from regmix_pipeline.lineage import openlineage

        context = openlineage.LineageContext(record, verdicts, namespace or openlineage.namespace_of(record))
        events = openlineage.events_of(steps, context)
        if send:
            from regmix_pipeline.lineage.sending import send_events

            said["events"] = send_events(events)
        elif as_json and out is None:
            json.dump([json.loads(openlineage.as_json(event)) for event in events], sys.stdout, indent=2)
            sys.stdout.write("\n")
        else:
            said["events"] = 0
            with _opened(out) as file:
                for event in events:
                    file.write(openlineage.as_json(event) + "\n")
                    said["events"] += 1
    if send or out:
        _say(said | ({"file": str(out)} if out else {}), as_json)


@contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    if out is None:
        yield sys.stdout
        return
    if out.is_dir():
        raise LedgerError("is a folder", where=f"--out {out}", remedy="name the file to write")
    try:
        with written_atomically(out) as temporary, temporary.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise LedgerError(
            f"cannot be written: {error.strerror}", where=str(out), remedy="choose another --out"
        ) from None


def _say(said: dict[str, Any], as_json: bool) -> None:
    what = f"{said['events']} events" if "events" in said else f"{said['records']} records"
    where = said.get("file", "the receiver")
    text = f"{said['decision']}: {what} {'written to' if 'file' in said else 'sent to'} {where}"
    answer(said, lambda console: console.print(text, markup=False, soft_wrap=True), as_json)
