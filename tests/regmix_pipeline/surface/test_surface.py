"""A decision's response surface as programs ask for it: by command, and by an agent over MCP, on a real tiny study."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from regmix_pipeline.cli import app
from regmix_pipeline.decisions.evidence import evidence_behind
from regmix_pipeline.decisions.explain.explanation import explanation_of
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace

HAND = {"code": 0.2, "licences": 0.3, "descriptions": 0.5}


@pytest.fixture(scope="module")
def place(decided_study, tmp_path_factory):
    """The folder of a study with two decisions."""
    return shutil.copytree(decided_study, tmp_path_factory.mktemp("surface") / "study")


@pytest.fixture(scope="module")
def evidence(place):
    workspace = Workspace(place / "tiny.yaml", place / "home", say=lambda line: None)
    return evidence_behind(workspace, find_decision(workspace))


@pytest.fixture
def ask(place):
    """``ask("predict", ...)``: what the command answers, as JSON."""

    def asked(*words, status=0):
        words = [*words, "--study", str(place / "tiny.yaml"), "--home", str(place / "home")]
        result = CliRunner().invoke(app, [*words, "--json"] if status == 0 else words)
        assert result.exit_code == status, result.output
        return json.loads(result.stdout) if status == 0 else result.stderr

    return asked


def everything(folder):
    """Path -> size and time of each file."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def text_of(weights):
    return ",".join(f"{name}={weight}" for name, weight in weights.items())


def rounded(value):
    """Numbers to nine digits after the point: products of other rows beside them differ in the last bits."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return round(value, 9) if isinstance(value, float) else value


def test_predicted_as_the_decision_predicts(evidence, ask):
    names = ("chosen", "natural", "uniform", "by_hand")
    words = [word for name in (*names, text_of(HAND), json.dumps(HAND)) for word in ("--mixture", name)]
    found = ask("predict", *words)
    recorded = {(row["name"], row["target"]): row for row in evidence.decision["predictions"]}
    for name, each in zip(names, found["mixtures"], strict=False):
        for target, loss in [("objective", each["objective"]), *each["targets"].items()]:
            if (name, target) in recorded:
                want = recorded[name, target]
                assert loss["predicted"] == pytest.approx(want["predicted"], abs=1e-9)
                assert (loss["low"], loss["high"]) == pytest.approx((want["low"], want["high"]), abs=1e-9)
            assert loss["low"] < loss["predicted"] < loss["high"]
            assert 0 < loss["standard_error"] < loss["high"] - loss["low"]
    *_, by_hand, text, as_json = found["mixtures"]
    assert by_hand["mixture"] == text["mixture"] == as_json["mixture"]
    assert rounded({**text, "asked": ""}) == rounded({**as_json, "asked": ""}) == rounded({**by_hand, "asked": ""})


def test_differences_from_natural_have_their_own_error(evidence, ask):
    found = ask("predict", "--mixture", "natural", "--mixture", "chosen", "--mixture", "code=1")["mixtures"]
    natural, chosen, code = found
    assert natural["against_natural"] == 0
    assert natural["against_natural_error"] == 0
    for each in (chosen, code):
        difference = each["objective"]["predicted"] - natural["objective"]["predicted"]
        assert each["against_natural"] == pytest.approx(difference)
        assert each["against_natural_error"] > 0
    assert code["extrapolates"]
    assert not code["allowed"]  # the others have floors
    assert chosen["allowed"]
    flags = [flag for flag in evidence.decision["flags"] if "highest sampled" in flag or "nearest sampled" in flag]
    assert chosen["extrapolates"] == bool(flags)
    assert not natural["extrapolates"]  # it was measured


def test_a_wider_level_is_a_wider_interval(ask):
    widths = []
    for level in ("0.5", "0.9"):
        found = ask("predict", "--mixture", text_of(HAND), "--level", level)["mixtures"][0]["objective"]
        widths.append(found["high"] - found["low"])
    assert widths[0] < widths[1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("nonsense", "names: chosen, natural"),
        ("code=0.5,prose=0.5", "the domains are code, licences, descriptions"),
        ("code=0.5,licences=0.2", "sum to 0.7"),
        ("code=0.5,code=0.5", "'code' is given twice"),
        ("code=nan,licences=1", "the weight of 'code' is 'nan'"),
        ("code=-1,licences=2", "the weight of 'code' is '-1'"),
        ("code=1,licences", "'licences' has no weight"),
        ("{code: 1}", "is not JSON"),
        ('{"code": true}', "the weight of 'code' is True"),
    ],
)
def test_a_mixture_that_cannot_be_read_is_named(ask, asked, said):
    errors = ask("predict", "--mixture", asked, status=1)
    assert said in errors
    assert "remedy: " in errors
    assert "Traceback" not in errors


def test_a_level_that_is_none_is_named(ask):
    assert "give one above 0 and below 1" in ask("predict", "--mixture", "chosen", "--level", "90", status=1)


def test_the_surface_holds_what_its_parts_predict(evidence, ask):
    found = ask("surface")
    assert [row["domain"] for row in found["domains"]] == [row["domain"] for row in evidence.decision["domains"]]
    for row in found["domains"]:
        weights = [point["weight"] for point in row["curve"]]
        assert weights == sorted(weights)
        chosen = min(row["curve"], key=lambda point: abs(point["weight"] - row["weight"]))
        (want,) = (each for each in found["mixtures"] if each["name"] == "chosen")
        assert chosen["objective"]["predicted"] == pytest.approx(want["objective"]["predicted"], abs=1e-6)
        assert all(point["objective"]["low"] < point["objective"]["high"] for point in row["curve"])
    assert found["mixtures_measured"] == len(evidence.fitted.weights)
    scores = {(row["metric"], row["split"]) for target in found["targets"] for row in target["scores"]}
    assert ("spearman", "random") in scores


def test_an_earlier_decision_is_asked_by_its_place(ask, evidence):
    before = ask("surface", "--decision", "previous")
    assert before["decision"] != evidence.decision["decision"]
    assert "by_hand" not in [row["name"] for row in before["mixtures"]]
    assert "by_hand" in [row["name"] for row in ask("surface")["mixtures"]]


def test_terminals_get_tables(place):
    home = ["--study", str(place / "tiny.yaml"), "--home", str(place / "home")]
    said = CliRunner().invoke(app, ["predict", "--mixture", "code=1", *home]).stdout
    assert "not allowed by the decision's limits" in said
    assert "a guess" in said
    said = CliRunner().invoke(app, ["surface", *home]).stdout
    assert "by_hand" in said
    assert "rank correlation" in said


async def conversation(client, evidence):
    """What an agent may ask, and what it gets."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"surface", "predict", "explain", "propose", "audit"}
    assert all(tool.annotations.read_only_hint for tool in tools.values())

    async def call(name, **given):
        result = await client.call_tool(name, given)
        text = result.content[0].text
        return text if result.is_error else result.structured_content or json.loads(text)

    found = await call("surface")
    assert found["decision"] == evidence.decision["decision"]
    predicted = await call("predict", mixtures=[HAND, "natural"])
    assert predicted["mixtures"][1]["against_natural"] == 0
    assert predicted["mixtures"][0]["objective"]["standard_error"] > 0
    proposed = await call("propose", count=3)
    assert 1 <= len(proposed["mixtures"]) <= 3
    for each in proposed["mixtures"]:
        point = np.array([[each["weights"].get(name, 0.0) for name in evidence.domains]])
        assert evidence.region.allow(point, 1e-4)[0]
        assert each["standard_error"] > 0
    explained = await call("explain", domain="code")
    audited = await call("audit", contents=True)
    assert audited["holds"]
    assert audited["decision"] == evidence.decision["decision"]
    for wrong in (
        {"name": "explain", "domain": "prose"},
        {"name": "predict", "mixtures": [{"prose": 1}]},
        {"name": "propose", "count": 0},
        {"name": "surface", "decision": "nonsense"},
    ):
        answer = await call(**wrong)
        assert "remedy: " in answer
        assert "Traceback" not in answer
    return explained


def command(place, *more):
    from mcp import StdioServerParameters  # here: every worker imports this file, and one runs it

    words = ["-m", "regmix_pipeline", "mcp", "--study", str(place / "tiny.yaml"), "--home", str(place / "home")]
    return StdioServerParameters(command=sys.executable, args=[*words, *more], env=dict(os.environ))


def client_of(server):
    from mcp import Client

    return Client(server)


def test_an_agent_asks_over_standard_input_and_changes_nothing(place, evidence):
    async def talk():
        async with client_of(command(place)) as client:
            return await conversation(client, evidence)

    before = everything(place / "home")
    explained = asyncio.run(talk())
    assert everything(place / "home") == before
    workspace = Workspace(place / "tiny.yaml", place / "home", say=lambda line: None)
    assert explained["answer"] == explanation_of(workspace, "code")["answer"]


def test_an_agent_asks_over_http_on_this_machine_alone(place, evidence):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = command(place, "--port", str(port))
    server = subprocess.Popen([words.command, *words.args], stderr=subprocess.PIPE, text=True)

    async def talk():
        for _ in range(600):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            await asyncio.sleep(0.2)
        async with client_of(f"http://127.0.0.1:{port}/mcp") as client:
            return (await client.call_tool("predict", {"mixtures": ["chosen"]})).structured_content

    try:
        found = asyncio.run(talk())
        with open("/proc/net/tcp") as table:
            listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert f"0100007F:{port:04X}" in listening
        assert f"00000000:{port:04X}" not in listening
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert found["decision"] == evidence.decision["decision"]


def test_a_study_without_a_decision_is_said_to_the_agent(place, tmp_path):
    async def talk():
        params = command(place)
        params.args[-1] = str(tmp_path / "empty")
        async with client_of(params) as client:
            return await client.call_tool("surface", {})

    result = asyncio.run(talk())
    assert result.is_error
    assert "there is no current decision" in result.content[0].text
    assert not (tmp_path / "empty").exists()
