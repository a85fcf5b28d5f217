"""The lineage of a decision in OpenLineage and PROV says what the records say, no more and no less."""

import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import attr
import pytest
from dateutil import parser
from openlineage.client import facet_v2
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from prov.model import (
    ProvActivity,
    ProvAssociation,
    ProvAttribution,
    ProvDerivation,
    ProvDocument,
    ProvEntity,
    ProvGeneration,
    ProvMembership,
    ProvUsage,
)
from typer.testing import CliRunner

from regmix_pipeline.assets.graph import OBSERVED
from regmix_pipeline.cli import app
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.verdicts import add_verdict
from regmix_pipeline.engine.records import UNPARTITIONED
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.lineage.chain import MEMBERS, Thing, chain_of
from regmix_pipeline.lineage.prov import activity_name, entity_name


@pytest.fixture(scope="module")
def decided(decided_study, tmp_path_factory):
    """A tiny study with an approved decision; its name needs escaping nowhere, its reason does."""
    folder = shutil.copytree(decided_study, tmp_path_factory.mktemp("lineage") / "study")
    workspace = opened(folder)
    add_verdict(
        workspace, find_decision(workspace), "approved", 'looks "right", ❤', "Ada Lovelace <ada@example.org>", "regmix"
    )
    return folder


def opened(folder):
    return Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None)


@pytest.fixture
def workspace(decided):
    return opened(decided)


@pytest.fixture
def regmix(decided, monkeypatch):
    """The command, on that study; no receiver is configured."""
    for name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(decided)

    def called(*words):
        return CliRunner().invoke(
            app, ["lineage", "--study", "tiny.yaml", "--home", "home", *words], catch_exceptions=False
        )

    return called


def versions_of(record):
    return {(place.split("@")[0], version) for place, version in record["versions"].items()}


def recorded_edges(workspace, record):
    """(made, read) of every record of the chain, read straight from the files."""
    edges = set()
    for place, version in (*versions_of(record), (f"mixture_decision/{UNPARTITIONED}", record["decision"])):
        asset, key = place.split("/", 1)
        for read in workspace.records.version(asset, key, version).inputs.items():
            edges.add(((place, version), tuple(read)))
    return edges


def test_the_chain_has_every_version_after_what_it_was_made_from(workspace):
    record = find_decision(workspace)
    steps = list(chain_of(workspace, record))
    made = [(step.made.place, step.made.version) for step in steps]
    assert set(made) == versions_of(record) | {(f"mixture_decision/{UNPARTITIONED}", record["decision"])}
    assert len(made) == len(set(made))
    assert made[-1] == (f"mixture_decision/{UNPARTITIONED}", record["decision"])
    edges = {
        ((step.made.place, step.made.version), (each.place, each.version)) for step in steps for each in step.inputs
    }
    assert edges == recorded_edges(workspace, record)
    assert all(made.index(read) < made.index(one) for one, read in edges)
    for step in steps:
        assert parser.isoparse(step.started) <= parser.isoparse(step.ended)


def test_a_collapsed_chain_has_one_step_an_asset_and_still_every_version(workspace):
    record = find_decision(workspace)
    steps = list(chain_of(workspace, record, collapse=True))
    assert len({step.made.asset for step in steps}) == len(steps)
    told = {(f"{step.made.asset}/{key.split('@')[0]}", one) for step in steps for key, one in step.members.items()}
    told |= {(step.made.place, step.made.version) for step in steps if not step.members}
    assert told == versions_of(record) | {(f"mixture_decision/{UNPARTITIONED}", record["decision"])}
    seen = set()
    for step in steps:
        assert seen >= set(step.inputs)
        seen.add(step.made)
    edges = {(step.made.asset, each.asset) for step in steps for each in step.inputs}
    assert edges == {(made[0].split("/")[0], read[0].split("/")[0]) for made, read in recorded_edges(workspace, record)}


def test_a_missing_record_is_named(decided, tmp_path):
    workspace = opened(shutil.copytree(decided, tmp_path / "study"))
    shutil.rmtree(workspace.path("records", "history", "tokenizer"))
    with pytest.raises(LedgerError, match=r"tokenizer/all: no record of version"):
        list(chain_of(workspace, find_decision(workspace)))


def rebuilt(raw):
    """An event made again from its JSON by the client's own classes, which check ids, times and addresses."""
    known = {
        cls._get_schema(): cls
        for module in vars(facet_v2).values()
        if isinstance(module, ModuleType)
        for cls in vars(module).values()
        if isinstance(cls, type) and hasattr(cls, "_get_schema")
    }

    def facets(given):
        for name, facet in given.items():
            if not name.startswith("regmix_"):  # the project's own facets go by the base class
                cls = known[facet["_schemaURL"]]
                names = {field.alias: field.name for field in attr.fields(cls) if field.init}
                assert set(facet) - {"_producer", "_schemaURL"} <= set(names.values())
                cls(
                    **{alias: facet[field] for alias, field in names.items() if field in facet and alias != "schemaURL"}
                )
        return given

    def dataset(cls, given, own):
        return cls(given["namespace"], given["name"], facets=facets(given["facets"]), **{own: facets(given[own])})

    return RunEvent(
        eventTime=raw["eventTime"],
        eventType=RunState(raw["eventType"]),
        producer=raw["producer"],
        run=Run(raw["run"]["runId"], facets(raw["run"]["facets"])),
        job=Job(raw["job"]["namespace"], raw["job"]["name"], facets(raw["job"]["facets"])),
        inputs=[dataset(InputDataset, each, "inputFacets") for each in raw["inputs"]],
        outputs=[dataset(OutputDataset, each, "outputFacets") for each in raw["outputs"]],
    )


def thing(dataset):
    return dataset["name"], dataset["facets"]["version"]["datasetVersion"]


def test_openlineage_events_tell_every_version_and_every_input(workspace, regmix, decided):
    record = find_decision(workspace)
    assert regmix("--out", "chain.ndjson").exit_code == 0
    events = [json.loads(line) for line in (decided / "chain.ndjson").read_text().splitlines()]
    for event in events:
        rebuilt(event)
    complete = [event for event in events if event["eventType"] == "COMPLETE"]
    started = {event["run"]["runId"]: event for event in events if event["eventType"] == "START"}
    assert len(events) == 2 * len(complete) == 2 * len(started)
    assert {event["run"]["runId"] for event in complete} == set(started)
    outputs = [thing(output) for event in complete for output in event["outputs"]]
    assert set(outputs) == versions_of(record) | {(f"mixture_decision/{UNPARTITIONED}", record["decision"])}
    edges = {
        (thing(output), thing(read)) for event in complete for output in event["outputs"] for read in event["inputs"]
    }
    assert edges == recorded_edges(workspace, record)
    parents = {event["job"]["name"]: event["run"]["facets"].get("parent") for event in complete}
    assert {name for name, parent in parents.items() if parent is None} == OBSERVED.keys() & parents.keys()
    runs = {parent["run"]["runId"] for parent in parents.values() if parent}
    assert runs == {run for run in record["runs"] if run} | {record["run"]}
    last = complete[-1]["outputs"][0]["facets"]
    assert last["regmix_decision"]["weights"] == record["mixture"]["weights"]
    assert last["regmix_decision"]["seal"] == record["seal"]
    assert last["ownership"]["owners"] == [{"name": "user:Ada Lovelace <ada@example.org>", "type": "APPROVER"}]
    losses = next(event for event in complete if event["job"]["name"] == "proxy_losses")
    tables = {field["name"]: field["fields"] for field in losses["outputs"][0]["facets"]["schema"]["fields"]}
    columns = {field["name"]: field["type"] for field in tables["proxy_losses"]}
    assert columns["loss"] == "DOUBLE"
    assert columns["final"] == "BOOLEAN"


def test_telling_twice_tells_of_the_same_runs(regmix):
    first, second = regmix("--json"), regmix("--json")
    assert [event["run"]["runId"] for event in json.loads(first.stdout)]
    assert first.stdout == second.stdout


class Receiver(BaseHTTPRequestHandler):
    """Keeps what is posted to it, as a lineage server does, until it is set to refuse."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(201 if len(self.server.taken) <= self.server.limit else 422)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def receiver():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.taken, server.limit = [], 1_000_000
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def addressed(receiver, monkeypatch):
    """OPENLINEAGE_URL names the receiver; what the client copies it to does not outlive the test."""
    name = "OPENLINEAGE__TRANSPORT__TRANSPORTS__DEFAULT_HTTP"
    for part in ("TYPE", "URL", "AUTH"):
        monkeypatch.setenv(f"{name}__{part}", "")
        monkeypatch.delenv(f"{name}__{part}")
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{receiver.server_port}")
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "sesame")
    return receiver


def test_events_are_sent_to_the_address_in_the_environment(regmix, addressed):
    written = json.loads(regmix("--json", "--collapse").stdout)
    sent = regmix("--send", "--collapse", "--json")
    assert sent.exit_code == 0
    assert json.loads(sent.stdout)["events"] == len(written) == len(addressed.taken)
    bodies = [body for _, _, body in addressed.taken]
    for body in bodies:
        body["run"]["facets"].pop("tags")  # the client's own version, which it adds as it sends
    assert bodies == written
    assert {(path, key) for path, key, _ in addressed.taken} == {("/api/v1/lineage", "Bearer sesame")}


def test_a_receiver_that_refuses_is_reported_with_how_far_it_went(regmix, addressed):
    addressed.limit = 3
    sent = regmix("--send", "--collapse")
    assert sent.exit_code == 1
    assert "sending stopped after 3 events" in sent.stderr
    assert f"127.0.0.1:{addressed.server_port}" in sent.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--send"], "no receiver of OpenLineage events is named"),
        (["--send", "--format", "prov"], "only OpenLineage events are sent"),
        (["--send", "--out", "x"], "sent or written, not both"),
        (["--out", "tiny.yaml/x"], "cannot be written"),
        (["d000"], "no decision starts with"),
    ],
)
def test_what_cannot_be_done_is_said(regmix, words, said):
    done = regmix(*words)
    assert done.exit_code == 1
    assert said in done.stderr


def things(document, kind, first, second):
    """Pairs of local names that the relations of a kind join."""
    pairs = set()
    for relation in document.get_records(kind):
        given = {str(name): value for name, value in relation.formal_attributes}
        pairs.add((given[first].localpart, given[second].localpart))
    return pairs


@pytest.mark.parametrize("collapse", [False, True])
def test_prov_survives_its_own_reader_and_says_what_the_records_say(workspace, regmix, decided, collapse):
    record = find_decision(workspace)
    assert regmix("--format", "prov", "--out", "chain.json", *["--collapse"] * collapse).exit_code == 0
    text = (decided / "chain.json").read_text()
    document = ProvDocument.deserialize(content=text, format="json")
    assert ProvDocument.deserialize(content=document.serialize(format="json"), format="json") == document
    steps = list(chain_of(workspace, record, collapse=collapse))
    names = {entity.identifier.localpart for entity in document.get_records(ProvEntity)}
    every = {Thing(*place.split("/", 1), version) for place, version in versions_of(record)}
    assert {entity_name(each) for each in every} <= names
    verdict = next(name for name in names if name.startswith("verdict/"))
    decision = entity_name(Thing("mixture_decision", UNPARTITIONED, record["decision"]))
    used = {(activity_name(step.made), entity_name(each)) for step in steps for each in step.inputs}
    assert things(document, ProvUsage, "prov:activity", "prov:entity") == used | {(f"make/{verdict}", decision)}
    derived = {(entity_name(step.made), entity_name(each)) for step in steps for each in step.inputs}
    assert things(document, ProvDerivation, "prov:generatedEntity", "prov:usedEntity") == derived | {
        (verdict, decision)
    }
    if not collapse:
        edges = recorded_edges(workspace, record)
        assert derived == {
            (entity_name(Thing(*made[0].split("/", 1), made[1])), entity_name(Thing(*read[0].split("/", 1), read[1])))
            for made, read in edges
        }
    generated = {(entity_name(step.made), activity_name(step.made)) for step in steps} | {(verdict, f"make/{verdict}")}
    assert things(document, ProvGeneration, "prov:entity", "prov:activity") == generated
    members = {
        (entity_name(step.made), entity_name(Thing(step.made.asset, key.split("@")[0], version)))
        for step in steps
        for key, version in step.members.items()
    }
    assert things(document, ProvMembership, "prov:collection", "prov:entity") == members
    assert bool(members) == collapse == any(step.made.key == MEMBERS for step in steps)
    ada = "agent/Ada%20Lovelace%20%3Cada%40example.org%3E"
    attributed = things(document, ProvAttribution, "prov:entity", "prov:agent")
    assert {entity for entity, agent in attributed if agent == ada} == {verdict}
    assert {entity for entity, agent in attributed if agent == "software"} == {entity_name(step.made) for step in steps}
    associated = things(document, ProvAssociation, "prov:activity", "prov:agent")
    assert (f"make/{verdict}", ada) in associated
    assert {act for act, agent in associated if agent == "software"} == {activity_name(step.made) for step in steps}
    times = {
        each.identifier.localpart: (each.get_startTime(), each.get_endTime())
        for each in document.get_records(ProvActivity)
    }
    for step in steps:
        assert times[activity_name(step.made)] == (parser.isoparse(step.started), parser.isoparse(step.ended))


def test_the_reference_of_the_record_names_every_field(workspace):
    record = find_decision(workspace)
    page = (Path(__file__).resolve().parents[4] / "docs" / "decision-record.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    fields = set(record) | set(record["mixture"]) | set(record["domains"][0]) | set(record["predictions"][0])
    fields |= (
        set(record["checks"][0]) | set(record["environment"]) | set(record["triggered"]) | set(record["stability"])
    )
    assert sorted(fields - named) == []
    gain = (Path(__file__).resolve().parents[4] / "docs" / "uncertainty.md").read_text()
    assert [field for field in record["gain"] if f"`{field}`" not in gain] == []
