"""A study that gets an earlier phase, in Dagster: one model of it within the budget, then all proxies from there."""

from regmix_pipeline.assets.names import stage_name
from regmix_pipeline.status import training_cost

TOKENS = 16_384
PHASES = [
    {"name": "pretraining", "tokens": 400_000, "mixture": {"code": 0.75, "licences": 0.25}},
    {"name": "annealing", "tokens": 400_000},
]


def asked(request):
    return [stage_name(key) for key in request.asset_selection]


def test_the_earlier_phase_is_trained_once_and_every_proxy_goes_on_from_it(world):
    before = set(world.workspace().records.keys("proxy_checkpoints"))
    world.change_study(phases=PHASES)
    assert world.run("domain_inventory", "mixtures")
    # What was drawn stays evidence of another study: of its mixtures none was trained after this phase.
    mixtures = len(world.workspace().json("mixtures")["mixtures"])
    request, reason = world.look("proxies_within_budget")
    assert request is None
    assert f"earlier phases: 1 proxy to train, {TOKENS:,} tokens" in reason
    assert "waits for a click on phase_checkpoints" in reason
    world.change_study(refit={"max_new_tokens": mixtures * TOKENS, "settle_seconds": 0})
    request, _ = world.look("proxies_within_budget")
    assert asked(request) == ["phase_checkpoints"]
    assert world.asked(request)
    request, _ = world.look("proxies_within_budget")
    assert asked(request) == ["proxy_checkpoints"]
    assert world.asked(request)
    workspace = world.workspace()
    phase = workspace.need("phase_checkpoints")
    assert phase.facts["phases"]["pretraining"]["tokens"] == TOKENS
    for key in workspace.records.keys("proxy_checkpoints"):
        record = workspace.need("proxy_checkpoints", key)
        assert record.inputs["phase_checkpoints/all"] == phase.version
    # Without the phase everything is what it was.
    world.change_study(phases=[])
    assert world.run("domain_inventory", "mixtures")
    assert training_cost(world.workspace(), before).proxies == 0
