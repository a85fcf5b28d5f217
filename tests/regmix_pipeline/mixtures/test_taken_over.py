"""What a list of mixtures takes over from those before it, and that its recipe says so."""

import pytest

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.adopted import ADOPTED_MIXTURES, adopt
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import MIXTURES, current_mixtures
from regmix_pipeline.proxies.finished import FINISHED_PROXIES

TOKENS = {"code": 5.0, "licences": 2.0, "descriptions": 3.0}


def _counted(workspace):
    return {"all": Recipe({}, {"tokens": {name: TOKENS[name] for name in workspace.domains}})}


def _count(workspace, recipes):
    tokens = recipes["all"].settings["tokens"]
    rows = [
        {"source": name, "role": "domain", "prior": count / sum(tokens.values()), "cap": 1.0, "floor": 0.0}
        for name, count in tokens.items()
    ]
    version = fingerprint(rows)
    yield Output("all", version, files=[workspace.write_json({"sources": rows}, "inventory", f"{version}.json")])


INVENTORY = Stage("domain_inventory", (), None, "1", _counted, _count)


@pytest.fixture
def listed(study_file, tmp_path):
    """Make the list of mixtures that the study asks for now: (what became of it, id -> mixture)."""

    def make():
        workspace = Workspace(study_file, tmp_path / "home", say=lambda line: None)
        for stage in (INVENTORY, FINISHED_PROXIES, ADOPTED_MIXTURES):
            list(workspace.materialise(stage))
        (made,) = workspace.materialise(MIXTURES)
        assert workspace.stale(MIXTURES) == {}
        return made, current_mixtures(workspace)

    return make


def test_a_list_is_made_once_and_a_change_that_is_undone_leads_back(listed, change_study):
    first, _ = listed()
    assert listed()[0].reused
    change_study({"mixtures.count": 9})
    assert len(listed()[1]) == 9 + 1
    change_study({"mixtures.count": 12})
    again, _ = listed()
    assert again.restored
    assert again.record == first.record


def test_what_was_drawn_returns_with_its_domain(listed, change_study, study_file):
    licences = {"source": {"jsonl": "text/licences.jsonl"}}
    _, first = listed()
    change_study({"domains.licences": None})
    made, without = listed()
    stays = {key for key, mixture in first.items() if "licences" not in mixture.weights}
    assert {key for key, _ in made.record.settings["kept"]["sampled"]} <= stays <= set(without) | set(first)
    change_study({"domains.licences": licences, "mixtures.count": 14})
    made, after = listed()
    kept = [key for key, _ in made.record.settings["kept"]["sampled"]]
    assert not made.restored
    assert set(after) >= set(kept)
    assert [key for key in without if key in kept] == kept[: len(set(without) & set(kept))]
    assert set(first) & set(kept) - set(without)


def test_equal_recipes_give_equal_lists(listed, change_study, tmp_path):
    listed()
    change_study({"mixtures.count": 9})
    listed()
    change_study({"mixtures.count": 15})
    made, _ = listed()
    # A list that is gone is made again as it was, from the lists before it.
    for path in (tmp_path / "home" / "records" / "current" / "mixtures").iterdir():
        path.unlink()
    for path in (tmp_path / "home" / "mixtures").iterdir():
        if path.name.startswith(made.record.version):
            path.unlink()
    again, _ = listed()
    assert not again.reused
    assert again.record.recipe == made.record.recipe
    assert again.record.version == made.record.version


def test_a_prediction_belongs_to_the_mixtures_that_were_chosen_by_it(listed, change_study, study_file, tmp_path):
    domains = Stage(
        "domains", (), None, "1", lambda _: {"all": Recipe({}, {"watched": []})}, lambda *_: iter([Output("all", "d")])
    )

    def ask(*parts, number, predicted):
        workspace = Workspace(study_file, tmp_path / "home", say=lambda line: None)
        list(workspace.materialise(domains))
        adopt(workspace, [Mixture.of(each) for each in parts], "p", "test", "", number, {"predicted": predicted})

    def expected():
        listed()
        workspace = Workspace(study_file, tmp_path / "home", say=lambda line: None)
        return {number: each["predicted"] for number, each in workspace.json("mixtures")["expected"].items()}

    change_study({"mixtures.count": 20})
    listed()
    ask({"licences": 500_000, "code": 500_000}, number=2, predicted=1.0)
    ask({"code": 400_000, "descriptions": 600_000}, number=3, predicted=2.0)
    assert expected() == {"2": 1.0, "3": 2.0}
    change_study({"domains.licences": None})
    assert expected() == {"3": 2.0}
    ask({"code": 300_000, "descriptions": 700_000}, number=2, predicted=3.0)
    assert expected() == {"2": 3.0, "3": 2.0}
    change_study({"domains.licences": {"source": {"jsonl": "text/licences.jsonl"}}})
    assert expected() == {"2": 1.0, "3": 2.0}
