"""What a list of mixtures takes over from those before it, and that its recipe says so."""

import pytest

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.adopted import ADOPTED_MIXTURES
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
