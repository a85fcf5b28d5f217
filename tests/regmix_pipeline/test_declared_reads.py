"""A stage reads what it declares, and nothing else: every way of reading raises otherwise."""

from dataclasses import replace

import pytest

from regmix_pipeline.errors import UndeclaredReadError
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.recorder import Output
from regmix_pipeline.ledger.records import Recipe
from regmix_pipeline.stages import STAGES

ROW = {"mixture": "m", "domain": "code", "weight": 1.0, "worth": 0.0}
READS = {
    "need": lambda lab: lab.need("further_mixtures").version,
    "versions": lambda lab: lab.versions("further_mixtures"),
    "artefact": lambda lab: lab.artefact("further_mixtures", suffix=".json").name,
    "json": lambda lab: lab.json("further_mixtures"),
    "unaltered": lambda lab: lab.unaltered(lab.known, lab.known.files[0]).name,
    "tables": lambda lab: _rows(lab.tables("further_mixtures")),
    "tables ever": lambda lab: _rows(lab.tables(ever=["further_mixtures"]), "further_mixtures"),
    "ledger_of": lambda lab: lab.ledger_of("further_mixtures").name,
    "path": lambda lab: [path.name for path in lab.path("further").iterdir()],
    "once": lambda lab: lab.once("a value", lambda: lab.json("further_mixtures")),
    "records.current": lambda lab: lab.records.current("further_mixtures").version,
    "records.damage": lambda lab: lab.records.damage("further_mixtures"),
    "records.keys": lambda lab: lab.records.keys("further_mixtures"),
    "records.latest": lambda lab: lab.records.latest("further_mixtures").version,
    "records.history": lambda lab: [record.version for record in lab.records.history("further_mixtures")],
    "records.version": lambda lab: lab.records.version("further_mixtures", "all", "1").recipe,
    "records.of_version": lambda lab: len(lab.records.of_version("further_mixtures", "all", "1")),
    "records.made_from": lambda lab: len(lab.records.made_from("further_mixtures", "all", lab.known.recipe)),
    "records.all": lambda lab: [record.asset for record, _ in lab.records.all()],
    "records.fingerprint": lambda lab: lab.records.fingerprint(),
}


def _rows(tables, name="current_further_mixtures"):
    with tables as connection:
        return connection.execute(f"select mixture from {name}").fetchall()


def _made(lab, recipes):
    lab.write_rows("further_mixtures", "1", [ROW])
    yield Output("all", "1", files=[lab.write_json({"stable": True}, "further", "1.json")])


SOURCE = Stage("further_mixtures", (), None, "1", lambda lab: {"all": Recipe({})}, _made, folders=("further",))
"""Under the name of a stage whose tables the ledger knows."""


@pytest.fixture
def lab(study_file, tmp_path):
    made = Lab(study_file, tmp_path / "home", say=lambda line: None)
    list(made.materialise(SOURCE))
    made.known = made.need("further_mixtures")
    return made


def stage(read, upstream):
    """A stage that reads, both to say what it is made from and as it is made."""

    def make(lab, recipes):
        yield Output("all", "1", {"found": read(lab)})

    return Stage("reader", upstream, None, "1", lambda lab: {"all": Recipe({}, {"found": read(lab)})}, make)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_that_is_not_declared_raises(lab, read):
    read(lab)  # the value may be known already
    undeclared = stage(read, ("documents",))
    with pytest.raises(UndeclaredReadError, match="the stage reader reads further_mixtures: declare it in"):
        undeclared.wanted(lab)
    with pytest.raises(UndeclaredReadError):
        list(lab.materialise(replace(undeclared, recipes=lambda lab: {"all": Recipe({})})))
    assert lab.records.current("reader") is None
    declared = stage(read, ("further_mixtures",))
    assert declared.wanted(lab)["all"].settings["found"] == read(lab) == next(declared.make(lab, {})).facts["found"]


def test_no_stage_reads_the_ledger_by_itself(lab):
    with pytest.raises(UndeclaredReadError, match="the ledger"):
        stage(lambda lab: lab.ledger.name, ("further_mixtures",)).wanted(lab)


def test_stages_declare_what_comes_before_them():
    names = [each.name for each in STAGES]
    for place, each in enumerate(STAGES):
        assert set(each.upstream) <= set(names[:place]), each.name
        assert len(set(each.upstream)) == len(each.upstream), each.name
