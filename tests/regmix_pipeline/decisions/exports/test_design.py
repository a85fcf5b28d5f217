"""All mixtures of a design, by the real command: each a file that a trainer reads, and one table that comes back in."""

import csv
import json

import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.cli import app
from regmix_pipeline.files import read_json
from regmix_pipeline.formats.catalogue import FORMATS
from regmix_pipeline.proxies.run_tables import read_runs


@pytest.fixture
def mixtures(workspace, tmp_path):
    """``mixtures("json", ...)``: run the command on the workspace's study; its answer, or what it said of an error."""

    def run(name, *words, ends=0):
        places = ["--study", str(workspace.study_file), "--home", str(workspace.home), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(app, ["mixtures", "--format", name, *places, "--json", *words])
        assert done.exit_code == ends, done.output
        return json.loads(done.stdout) if ends == 0 else done.stderr

    return run


@pytest.mark.parametrize("name", FORMATS)
def test_every_mixture_is_written_in_every_format_with_its_plan(workspace, mixtures, tmp_path, name):
    template = {"mixtera": "domain:{domain}"}.get(name, "s3://bucket/{domain}")
    words = [] if name in ("json", "csv", "regmix", "olmo-core", "hf", "torchtitan") else ["--data", template]
    trained = {path.name for path in workspace.home.glob("proxies/p*")}
    told = mixtures(name, *words)
    listed = workspace.json("mixtures")["mixtures"]
    assert [row["mixture"] for row in told["mixtures"]] == [entry["id"] for entry in listed]
    for row, entry in zip(told["mixtures"], listed, strict=True):
        main = tmp_path / "out" / row["file"]
        assert main.is_file()
        plan = read_json(main.with_name(main.stem + ".plan.json"))
        assert sum(part["tokens"] for part in plan["files"]) == row["tokens"] == 16_384
        assert plan["about"]["mixture"] == entry["id"]
        shares = {part["domain"]: part["share"] for part in plan["domains"]}
        assert shares == pytest.approx({name: part / 1e6 for name, part in entry["parts"].items() if part}, abs=1e-4)
    assert {path.name for path in workspace.home.glob("proxies/p*")} == trained


def test_the_json_says_all_that_a_trainer_needs(workspace, mixtures, tmp_path):
    row = mixtures("json")["mixtures"][0]
    content = read_json(tmp_path / "out" / row["file"])
    assert content["weights"] == row["weights"]
    assert content["tokens"] == 16_384
    target = workspace.study.limits.target_tokens
    for domain, data in content["domains"].items():
        (file,) = data["files"]
        assert file["file"].endswith("train.ds")
        assert data["dtype"] == "uint16"
        # As few tokens of it as repeat it like the large run.
        assert file["available_tokens"] == data["available_tokens"]
        assert data["epochs"] == pytest.approx(row["epochs"][domain])
    assert row["highest_epochs"] == max(row["epochs"].values())
    assert target is not None


def test_the_table_comes_back_in_with_losses_of_a_trainer_elsewhere(workspace, mixtures, tmp_path):
    told = mixtures("csv")
    table = tmp_path / "out" / "mixtures.csv"
    with (tmp_path / "losses.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["index", *(f"metric/{name}_val_loss" for name in workspace.targets)])
        for number, row in enumerate(told["mixtures"]):
            rows.writerow([row["mixture"], *(2 + number / 10 + place for place, _ in enumerate(workspace.targets))])
    runs = read_runs(table, tmp_path / "losses.csv", workspace.domains, workspace.targets)
    assert (
        [run.mixture.id for run in runs.runs]
        == [run.id for run in runs.runs]
        == [row["mixture"] for row in told["mixtures"]]
    )
    first = told["mixtures"][0]
    with (tmp_path / "out" / first["file"]).open() as file:
        found = {row["domain"]: float(row["weight"]) for row in csv.DictReader(file)}
    assert found == first["weights"]


def test_tokens_are_those_of_a_proxy_or_as_given(mixtures, tmp_path):
    row = mixtures("olmo-core", "--tokens", "99999")["mixtures"][0]
    content = (tmp_path / "out" / row["file"]).read_text()
    assert "requested_tokens=99999" in content
    for source in yaml.safe_load(content)["sources"]:
        assert source["target_ratio"] == row["weights"][source["source_name"]]
        assert source["max_repetition_ratio"] >= row["epochs"][source["source_name"]]


def test_what_cannot_be_written_is_refused_and_leaves_nothing(mixtures, tmp_path):
    assert "--data" in mixtures("megatron", ends=1)
    assert "no such format" in mixtures("parchment", ends=1)
    assert "not a budget" in mixtures("json", "--tokens", "0", ends=1)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("")
    assert "is a file" in mixtures("json", ends=1)
