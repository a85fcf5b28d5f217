"""Training waits for the study's budget, and the schedule re-fits what changed and nothing else."""

import datetime

import dagster as dg
import pytest

from regmix_pipeline.assets.names import StudyNames, stage_name
from regmix_pipeline.assets.schedules import schedules
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.verdicts import add_verdict
from regmix_pipeline.proxies.stage import PROXY_LOSSES
from regmix_pipeline.resources.trainer import TrainerResource
from regmix_pipeline.resources.workspace import WorkspaceResource
from regmix_pipeline.status import confirmation_tokens
from regmix_pipeline.study.settings.refit import Refit

TOKENS = 16_384


def scheduled(world):
    """One tick of the schedule."""
    schedule = world.defs.get_schedule_def("refit")
    with dg.build_schedule_context(
        instance=world.instance,
        scheduled_execution_time=datetime.datetime(2026, 1, 1, 3),
    ) as context:
        data = schedule.evaluate_tick(context)
    assert len(data.run_requests or []) <= 1
    return (data.run_requests[0] if data.run_requests else None), data.skip_message or ""


def waiting(world):
    """How many proxies the latest mixtures wait for."""
    return world.facts("mixtures")["proxies to train"]


def test_without_a_budget_training_waits_for_a_click_and_says_what_it_asks(world):
    assert world.look("proxies_within_budget") == (None, "every proxy is up to date")
    world.drop_in("poems")
    world.settle()
    stale = waiting(world)
    assert stale > 0
    request, reason = world.look("proxies_within_budget")
    assert request is None
    assert f"{stale * TOKENS:,} tokens" in reason
    assert "the study's budget (refit.max_new_tokens) is 0, so this waits for a click on proxy_checkpoints" in reason


def test_a_budget_that_is_too_small_waits_as_well(arrived_world):
    world, stale = arrived_world, waiting(arrived_world)
    world.change_study(refit={"max_new_tokens": stale * TOKENS - 1, "settle_seconds": 0})
    request, reason = world.look("proxies_within_budget")
    assert request is None
    assert f"is {stale * TOKENS - 1:,}, so this waits" in reason


def test_within_the_budget_stale_proxies_are_trained_and_measured(arrived_world):
    world, stale = arrived_world, waiting(arrived_world)
    keys = {entry["id"] for entry in world.workspace().json("mixtures")["mixtures"]}
    new = keys - set(world.workspace().records.keys("proxy_losses"))
    world.change_study(refit={"max_new_tokens": stale * TOKENS, "settle_seconds": 0})
    request, _ = world.look("proxies_within_budget")
    assert [stage_name(key) for key in request.asset_selection] == ["proxy_checkpoints"]
    assert request.run_key is None
    assert world.asked(request)
    request, _ = world.look("proxies_within_budget")
    assert [stage_name(key) for key in request.asset_selection] == ["proxy_losses"]
    assert world.asked(request)
    assert world.look("proxies_within_budget") == (None, "every proxy is up to date")
    assert new <= set(world.workspace().records.keys("proxy_losses"))
    shown = [world.facts("proxy_checkpoints", key) for key in new]
    assert {each["what changed"] for each in shown} == {"new"}
    assert len({each["progress"] for each in shown}) == len(new)
    assert any(each["progress"].split(" of ")[0] == each["progress"].split(" of ")[1] for each in shown)
    assert all(each["tokens per second"] > 0 and each["time left"] for each in shown)
    check = world.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(world.key("proxy_checkpoints"), "executed_tokens_equal_the_mixture"), limit=1
    )[0]
    made = {name: value.value for name, value in check.event.asset_check_evaluation.metadata.items()}
    assert made["made in this run"] == len(new)


def test_proxies_are_asked_for_twice_and_not_while_they_are_trained(arrived_world):
    world, stale = arrived_world, waiting(arrived_world)
    world.change_study(refit={"max_new_tokens": stale * TOKENS, "settle_seconds": 0})
    assert world.look("proxies_within_budget")[0] is not None
    going = world.start("proxy_checkpoints")
    request, reason = world.look("proxies_within_budget")
    assert request is None
    assert f"run {going[:8]} is already running" in reason
    world.instance.report_run_canceled(world.instance.get_run_by_id(going))
    assert world.look("proxies_within_budget")[0] is not None
    request, reason = world.look("proxies_within_budget")
    assert request is None
    assert "requested 2 times without success" in reason


def test_proxies_are_not_asked_for_while_a_backfill_makes_them(arrived_world):
    # Its steps make partitions that came late, and no run of it names their assets.
    world, stale = arrived_world, waiting(arrived_world)
    world.change_study(refit={"max_new_tokens": stale * TOKENS, "settle_seconds": 0})
    elsewhere = world.start_backfill("token_shards", name="elsewhere")
    assert world.look("proxies_within_budget")[0] is not None
    world.end_backfill(elsewhere)
    here = world.start_backfill("proxy_checkpoints", "proxy_losses", name="here")
    request, reason = world.look("proxies_within_budget")
    assert request is None
    assert f"backfill {here.backfill_id} is already running" in reason
    world.end_backfill(here)
    assert world.look("proxies_within_budget")[0] is not None


def test_a_mixture_that_comes_during_a_backfill_is_a_partition_of_what_its_next_step_makes(world):
    # As where the sensor asks for the next round's mixtures after the backfill's own step has made the list.
    backfill = world.start_backfill("mixtures", "proxy_checkpoints", "proxy_losses", "regressor", name="going")
    tags = {"dagster/backfill": backfill.backfill_id}
    assert world.run("mixtures", tags=tags)
    before = set(world.partitions("mixtures"))
    world.change_study(mixtures={"count": 9, "minimum": 0.05, "anchors": {"natural": True}})
    assert world.run("regressor", tags=tags)
    (came,) = set(world.partitions("mixtures")) - before
    assert not world.workspace().stale(PROXY_LOSSES)
    assert world.facts("mixtures")["what changed"].startswith("settings changed: ")
    made = world.instance.get_materialized_partitions(world.key("proxy_losses"))
    assert came in made
    assert set(world.partitions("mixtures")) <= made


def test_training_waits_for_the_data_it_would_be_trained_on(world):
    world.change_study(refit={"max_new_tokens": 10**9, "settle_seconds": 0})
    world.drop_in("poems")
    world.look("new_domains")
    request, reason = world.look("proxies_within_budget")
    assert request is None
    assert reason.startswith("proxies wait for what they are trained on: documents: poems (new)")


def test_mixtures_follow_the_study_itself(world):
    settings = {"count": 9, "minimum": 0.05, "anchors": {"natural": True}}
    world.change_study(mixtures=settings)
    assert world.tick() == {}
    request, _ = world.look("proxies_within_budget")
    assert [stage_name(key) for key in request.asset_selection] == ["mixtures"]
    assert request.tags["regmix/why"].startswith("mixtures: settings changed: ")
    assert world.asked(request)
    assert "1 proxy to train" in world.look("proxies_within_budget")[1]


def test_the_schedule_does_nothing_visibly_when_nothing_changed(world):
    runs = world.instance.get_runs_count()
    request, reason = scheduled(world)
    assert request is None
    assert reason.startswith("nothing changed since the last decision, so there is nothing to fit")
    assert world.instance.get_runs_count() == runs


def test_the_schedule_waits_for_evidence_and_then_decides_again(world):
    before = world.workspace().need("mixture_decision").version
    world.drop_in("poems")
    world.look("new_domains")
    assert "the evidence is not complete: documents: poems (new)" in scheduled(world)[1]
    world.settle()
    _, reason = scheduled(world)
    assert "the evidence is not complete: proxy_checkpoints: " in reason

    keys = world.partitions("mixtures")
    assert world.run("proxy_checkpoints", keys=keys)
    # Measuring trains nothing: it needs no budget.
    assert world.asked(world.look("proxies_within_budget")[0])
    request, _ = scheduled(world)
    names = [stage_name(key) for key in request.asset_selection]
    assert set(names) >= {"regressor", "optimal_mixture", "mixture_decision", "confirmation", "mixture_report"}
    assert "regressor: changed: " in request.tags["regmix/why"]
    assert world.asked(request)
    assert scheduled(world)[1].startswith("nothing changed")

    after = world.workspace().need("mixture_decision").version
    assert after != before
    shown = world.facts("mixture_decision")
    assert shown["chosen vs natural"].startswith("![](data:image/svg+xml;base64,")
    assert {record.data["domain"] for record in shown["weights and limits"].records} == set(world.workspace().domains)
    assert "previous" in [record.data["mixture"] for record in shown["alternatives"].records]
    assert shown["decision before"] == before
    assert "| poems | not there | " in shown["before and now"]
    shown = world.facts("regressor")
    assert shown["inputs as before"] >= 5
    assert "proxy_losses/" in shown["inputs new"]
    assert "mixtures/all" in shown["inputs changed"]

    # The page says who approved the decision: a verdict asks for the page again, and for nothing else.
    workspace = world.workspace()
    add_verdict(workspace, find_decision(workspace), "approved", "seen and found good", "Ada", "a test")
    request, _ = scheduled(world)
    assert [stage_name(key) for key in request.asset_selection] == ["mixture_report"]
    assert world.asked(request)
    assert "Approved by Ada" in workspace.artefact("mixture_report").read_text()


def test_a_confirmation_is_trained_by_the_schedule_only_within_the_budget(world, tiny_settings):
    world.change_study(confirmation=tiny_settings["confirmation"])
    asked = confirmation_tokens(world.workspace())
    request, reason = scheduled(world)
    # The decision does not depend on it, and the report on its old record alone.
    assert request is None
    assert f"the confirmation asks {asked:,} tokens, the study's budget is 0: it waits for a click" in reason
    world.change_study(refit={"max_new_tokens": asked, "settle_seconds": 0})
    request, _ = scheduled(world)
    assert [stage_name(key) for key in request.asset_selection] == ["confirmation", "mixture_report"]


def test_a_study_without_a_cron_has_no_schedule():
    names = StudyNames.of("a study")
    workspace = WorkspaceResource(trainer=TrainerResource())
    assert schedules(Refit(), names, workspace) == []
    (schedule,) = schedules(Refit(cron="15 2 * * 1-5", timezone="Europe/Berlin"), names, workspace)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 2 * * 1-5", "Europe/Berlin")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


@pytest.mark.slow
def test_rounds_go_on_within_the_budget(world):
    mixtures = {"count": 18, "minimum": 0.01, "anchors": {"natural": True}, "rounds": {"number": 2}}
    world.change_study(
        mixtures=mixtures,
        regression={"regressors": ["exponential", "gaussian_process"], "bootstrap": 50},
        refit={"max_new_tokens": 10**9, "settle_seconds": 0},
    )
    asked, reasons = [], []
    for _ in range(20):
        request, reason = world.look("proxies_within_budget")
        if request is None:
            reasons.append(reason)
            if reason == "every proxy is up to date":
                break
        else:
            asked.append([stage_name(key) for key in request.asset_selection])
            assert world.asked(request)
    trained = [["mixtures"], ["proxy_checkpoints"], ["proxy_losses"]]
    fit = ["regressor", "optimal_mixture", "further_mixtures"]
    assert [*asked[:3], asked[3][-3:], *asked[4:]] == [*trained, fit, *trained]
    assert len(reasons) == 2
    assert "round 2 of 2 is next" in reasons[0]
    assert "asked for 2 proxies" in reasons[0]
    listed = world.workspace().json("mixtures")["mixtures"]
    assert sorted(entry["round"] for entry in listed if entry["round"]) == [1] * 16 + [2] * 2
    assert (
        world.facts("proxy_checkpoints", next(entry["id"] for entry in listed if entry["round"] == 2))["round"] == "2"
    )
