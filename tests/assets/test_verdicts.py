"""Approving and rejecting a decision in the Dagster UI."""

from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.verdicts import verdicts_of


def judge(world, **said):
    return world.defs.resolve_job_def("judge_decision").execute_in_process(
        instance=world.instance,
        run_config={"ops": {"record_verdict": {"config": said}}},
        raise_on_error=False,
    )


def test_a_verdict_is_kept_and_shown_on_the_asset(world):
    decision = find_decision(world.workspace())["decision"]
    result = judge(world, said="approved", reason="larger models agree", by="ada")
    assert result.success
    (verdict,) = verdicts_of(world.workspace(), decision)
    assert (verdict.said, verdict.by, verdict.reason) == ("approved", "ada", "larger models agree")
    assert verdict.through == f"Dagster run {result.run_id}"
    (seen,) = world.instance.fetch_observations(world.key("mixture_decision"), limit=1).records
    shown = seen.asset_observation.metadata
    assert shown["verdict"].value == "approved"
    assert shown["decision"].value == decision


def test_a_verdict_without_a_reason_fails_with_the_remedy_and_leaves_nothing(world):
    result = judge(world, said="rejected", reason=" ", by="ada")
    assert not result.success
    failures = [event for event in result.all_events if event.is_step_failure]
    assert "needs a reason" in failures[0].step_failure_data.user_failure_data.description
    assert verdicts_of(world.workspace(), find_decision(world.workspace())["decision"]) == []


def test_what_started_a_run_is_on_the_decision_it_makes(world):
    world.change_study(limits={"target_tokens": 300_000, "max_epochs": 4})
    world.reload()
    assert world.run("mixtures")
    stages = ["regressor", "optimal_mixture", "further_mixtures", "mixture_decision"]
    for stage in ("domain_inventory", "mixtures", *stages):
        tags = {"dagster/schedule_name": "refit", "regmix/why": "limits changed"}
        assert world.run(stage, tags=tags)
    record = find_decision(world.workspace())
    assert record["triggered"] == {"through": "Dagster", "by": "schedule refit", "why": "limits changed"}


def test_a_launchpad_that_was_not_filled_in_is_refused(world):
    for said in ({}, {"said": "approved", "by": "ada"}, {"said": "perhaps", "reason": "why not", "by": "ada"}):
        result = judge(world, **said)
        assert not result.success
        failure = next(event for event in result.all_events if event.is_step_failure)
        text = failure.step_failure_data.user_failure_data.description
        assert ("'perhaps' is not a verdict" if said.get("said") == "perhaps" else "not filled in: ") in text
    assert verdicts_of(world.workspace(), find_decision(world.workspace())["decision"]) == []
