"""A stage reads what it declares, and nothing else: every way of reading raises otherwise."""

from dataclasses import replace

import pytest

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import UndeclaredReadError
from regmix_pipeline.stages import STAGES

ROW = {"mixture": "m", "domain": "code", "weight": 1.0, "round": None, "worth": 0.0}
READS = {
    "need": lambda workspace: workspace.need("further_mixtures").version,
    "versions": lambda workspace: workspace.versions("further_mixtures"),
    "artefact": lambda workspace: workspace.artefact("further_mixtures", suffix=".json").name,
    "json": lambda workspace: workspace.json("further_mixtures"),
    "unaltered": lambda workspace: workspace.unaltered(workspace.known, workspace.known.files[0]).name,
    "tables": lambda workspace: _rows(workspace.tables("further_mixtures")),
    "tables ever": lambda workspace: _rows(workspace.tables(ever=["further_mixtures"]), "further_mixtures"),
    "ledger_of": lambda workspace: workspace.ledger_of("further_mixtures").name,
    "path": lambda workspace: [path.name for path in workspace.path("further").iterdir()],
    "once": lambda workspace: workspace.once("a value", lambda: workspace.json("further_mixtures")),
    "records.current": lambda workspace: workspace.records.current("further_mixtures").version,
    "records.damage": lambda workspace: workspace.records.damage("further_mixtures"),
    "records.keys": lambda workspace: workspace.records.keys("further_mixtures"),
    "records.latest": lambda workspace: workspace.records.latest("further_mixtures").version,
    "records.history": lambda workspace: [record.version for record in workspace.records.history("further_mixtures")],
    "records.version": lambda workspace: workspace.records.version("further_mixtures", "all", "1").recipe,
    "records.of_version": lambda workspace: len(workspace.records.of_version("further_mixtures", "all", "1")),
    "records.made_from": lambda workspace: len(
        workspace.records.made_from("further_mixtures", "all", workspace.known.recipe)
    ),
    "records.all": lambda workspace: [record.asset for record, _ in workspace.records.all()],
    "records.fingerprint": lambda workspace: workspace.records.fingerprint(),
}


def _rows(tables, name="current_further_mixtures"):
    with tables as connection:
        return connection.execute(f"select mixture from {name}").fetchall()


def _made(workspace, recipes):
    workspace.write_rows("further_mixtures", "1", [ROW])
    yield Output("all", "1", files=[workspace.write_json({"stable": True}, "further", "1.json")])


SOURCE = Stage("further_mixtures", (), None, "1", lambda workspace: {"all": Recipe({})}, _made, folders=("further",))
"""Under the name of a stage whose tables the ledger knows."""


@pytest.fixture
def workspace(study_file, tmp_path):
    made = Workspace(study_file, tmp_path / "home", say=lambda line: None)
    list(made.materialise(SOURCE))
    made.known = made.need("further_mixtures")
    return made


def stage(read, upstream):
    """A stage that reads, both to say what it is made from and as it is made."""

    def make(workspace, recipes):
        yield Output("all", "1", {"found": read(workspace)})

    return Stage("reader", upstream, None, "1", lambda workspace: {"all": Recipe({}, {"found": read(workspace)})}, make)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_that_is_not_declared_raises(workspace, read):
    read(workspace)  # the value may be known already
    undeclared = stage(read, ("documents",))
    with pytest.raises(UndeclaredReadError, match="the stage reader reads further_mixtures: declare it in"):
        undeclared.expected_recipes(workspace)
    with pytest.raises(UndeclaredReadError):
        list(workspace.materialise(replace(undeclared, recipes=lambda workspace: {"all": Recipe({})})))
    assert workspace.records.current("reader") is None
    declared = stage(read, ("further_mixtures",))
    assert (
        declared.expected_recipes(workspace)["all"].settings["found"]
        == read(workspace)
        == next(declared.compute(workspace, {})).facts["found"]
    )


def test_no_stage_reads_the_ledger_by_itself(workspace):
    with pytest.raises(UndeclaredReadError, match="the ledger"):
        stage(lambda workspace: workspace.ledger.name, ("further_mixtures",)).expected_recipes(workspace)


def test_stages_declare_what_comes_before_them():
    names = [each.name for each in STAGES]
    for place, each in enumerate(STAGES):
        assert set(each.upstream) <= set(names[:place]), each.name
        assert len(set(each.upstream)) == len(each.upstream), each.name
