"""Plans on paper: the paper's setting, a modern one, and what must never get cheaper."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.errors import PlanError
from regmix_pipeline.planning.hardware import hardware_of
from regmix_pipeline.planning.plan import plan_study
from regmix_pipeline.planning.show import duration, plan_as_json
from regmix_pipeline.stages import STAGES
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.settings.workers import EngineSettings
from regmix_pipeline.study.study import Study

ROOT = Path(__file__).parents[3]
H100 = hardware_of("h100-sxm")


def study(**changes):
    """A small study over text that is not there."""
    content = {
        "name": "paper",
        "domains": {
            name: {"source": {"jsonl": f"nowhere/{name}.jsonl"}, "available_tokens": 10**9} for name in ("a", "b", "c")
        },
        "targets": {"a": {}, "b": {}},
        "tokenizer": {"train": {"vocab_size": 8192}},
        "mixtures": {"count": changes.pop("count", 32)},
        "proxies": {
            "preset": "regmix-1m",
            "replicates": changes.pop("replicates", 1),
            "model": {"layers": changes.pop("layers", 2), "width": changes.pop("width", 256)},
            "training": {"tokens": 1_048_576 * changes.pop("steps", 200)},
            "evaluation": {"windows": changes.pop("windows", 64)},
            "noise": {"mixtures": 0},
        },
    }
    return Study.model_validate(content | changes)


def on_h100(of, devices=8):
    return plan_study(of, hardware=H100.model_copy(update={"devices": devices}))


def test_the_modern_study_is_what_it_says():
    modern = load_study(ROOT / "studies" / "modern.yaml")
    assert len(modern.domains) == 100
    assert sum(domain.available_tokens or 0 for domain in modern.domains.values()) == pytest.approx(10e12, rel=0.02)
    assert modern.proxies.model_settings.non_embedding_parameters() == pytest.approx(15e6, rel=0.1)
    plan = plan_study(modern, hardware=hardware_of("h100-sxm", 64))
    assert plan.works[0].models == 512 + 2 + 8
    assert plan.rows["mixtures"] == 514 * 100
    assert plan.cost() == pytest.approx(plan.device_hours() * 3.0)


def test_the_papers_setting_on_h100():
    plan = plan_study(load_study(ROOT / "studies" / "pile.yaml"), hardware=H100)
    proxies = next(stage for stage in plan.stages if stage.stage == "proxy_checkpoints")
    # 64 models a device, one after the other or side by side, at its stated rate.
    flops = plan.works[0].flops / (0.05 * 989e12)
    assert proxies.seconds == pytest.approx(64 * flops, rel=0.02)
    assert plan.disk["checkpoints"] == sum(work.bytes for work in plan.works)
    assert not any("memory" in warning for warning in plan.warnings)
    small = plan_study(load_study(ROOT / "studies" / "pile.yaml"), hardware=H100.model_copy(update={"memory_gb": 30.0}))
    assert any("runs out of memory" in warning for warning in small.warnings)


def test_every_stage_is_planned_once_and_in_order():
    named = [stage.stage for stage in on_h100(study()).stages]
    order = [stage.name for stage in STAGES]
    free = ("finished_proxies", "adopted_mixtures")
    left_out = (*free, "phase_checkpoints", "size_runs", "imported_runs", "confirmation", "strategy_comparison")
    assert named == [name for name in order if name not in left_out]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["count", "steps", "layers", "replicates", "windows"]),
    st.integers(8, 400),
    st.integers(1, 4),
    st.integers(1, 40),
)
def test_more_never_costs_less(what, count, factor, devices):
    base = {"count": count, "steps": 200, "layers": 2, "replicates": 1, "windows": 64}
    less, more = on_h100(study(**base), devices), on_h100(study(**base | {what: base[what] * factor}), devices)
    assert more.seconds >= less.seconds
    assert (more.cost() or 0) >= (less.cost() or 0)
    assert sum(more.disk.values()) >= sum(less.disk.values())
    assert sum(more.rows.values()) >= sum(less.rows.values())


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 400), st.integers(1, 64), st.integers(1, 64))
def test_more_devices_never_take_longer(count, one, other):
    few, many = sorted((one, other))
    assert on_h100(study(count=count), many).training_seconds <= on_h100(study(count=count), few).training_seconds


@given(st.floats(0.1, 1000), st.floats(1, 100))
@settings(max_examples=20, deadline=None)
def test_a_higher_rate_never_takes_longer(teraflops, faster):
    slow, fast = (plan_study(study(), teraflops=rate) for rate in (teraflops, teraflops * faster))
    assert fast.seconds <= slow.seconds
    assert fast.cost() is None


def test_a_model_that_no_device_holds_is_refused_by_field():
    small = H100.model_copy(update={"memory_gb": 0.5, "name": "small"})
    with pytest.raises(PlanError, match=r"small\.memory_gb.*has 0.5"):
        plan_study(study(), hardware=small)


def test_imported_runs_alone_train_nothing():
    content = {
        "name": "imported",
        "domains": {"a": {"available_tokens": 10}, "b": {"available_tokens": 20}},
        "targets": {"a": {}},
        "imports": [{"mixtures": "m.csv", "losses": "l.csv"}],
    }
    plan = plan_study(Study.model_validate(content), teraflops=1)
    assert plan.works == ()
    assert plan.training_seconds == 0
    assert "imported_runs" in [stage.stage for stage in plan.stages]


def test_json_carries_the_whole_plan():
    found = plan_as_json(on_h100(study()))
    assert found["seconds"] == pytest.approx(sum(stage["seconds"] for stage in found["stages"]))
    assert found["works"][0]["memory"]["total"] > found["works"][0]["memory"]["optimiser"] > 0
    assert found["device_hours"] * 3.0 == pytest.approx(found["cost"])
    assert set(found["disk"]) >= {"shards", "checkpoints", "snapshots", "ledger"}
    assert all(stage["source"] for stage in found["stages"])


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"),
        (0.31, "0.3s"),
        (59.6, "1m00s"),
        (95, "1m35s"),
        (7260, "2h01m"),
        (3 * 86_400, "3.0 days"),
        (1e9, "31.7"),
    ],
)
def test_durations_read_well(seconds, said):
    assert duration(seconds).startswith(said)


def compared(**changes):
    """The same study with a comparison of strategies."""
    strategies = {
        "names": ["uniform", "regmix", "ours", "odm"],
        "budget_proxies": 16,
        "seeds": 2,
        "target": {"preset": "regmix-1m", "model": {"layers": 12}, "training": {"tokens": 1_048_576 * 200}},
    }
    return study(strategies=strategies | changes)


def test_a_comparison_is_planned_with_all_that_it_trains():
    alone, plan = on_h100(study()), on_h100(compared())
    works = {work.what: work for work in plan.works}
    # Two of the four train proxies; natural and the decision are compared as well.
    assert works["compared"].models == 2 * 16
    assert works["targets"].models == 6 * 2
    assert works["targets"].flops > 3 * works["proxies"].flops
    assert "small proxies" not in works
    stage = next(stage for stage in plan.stages if stage.stage == "strategy_comparison")
    flops = sum(works[what].total_flops for what in ("compared", "targets"))
    assert stage.seconds >= flops / (8 * H100.teraflops(256) * 1e12)
    assert stage.devices == 8
    assert plan.seconds == pytest.approx(alone.seconds + stage.seconds)
    assert plan.rows["strategy_losses"] == 6 * 2 * 3
    assert plan.rows["strategy_choices"] == 6
    assert any("not counted" in warning for warning in plan.warnings)


def test_candidates_are_planned_at_every_size():
    small = {"preset": "regmix-1m", "model": {"layers": 1}}
    works = {work.what: work.models for work in on_h100(compared(candidates=16, small_proxy=small)).works}
    # Six choices and eight mixtures that nobody chose are less than sixteen.
    assert works == {
        "proxies": works["proxies"],
        "compared": 2 * 16 + 16,
        "small proxies": 16,
        "targets": 6 * 2 + 10,
    }


def test_devices_times_the_models_that_each_trains_at_once():
    plan = on_h100(study(count=512))
    assert plan.at_once["proxies"] == (8, 64)
    assert plan_as_json(plan)["works"][0]["models_per_device"] == 64
    # Few models leave work for all devices; a device holds what its memory does; the study may ask for less.
    assert on_h100(study(count=20)).at_once["proxies"] == (8, 3)
    small = H100.model_copy(update={"memory_gb": 8.0})
    held = plan_study(study(count=512), hardware=small)
    assert 1 < held.at_once["proxies"][1] < 64
    assert held.memory["proxies"].total <= 8e9
    assert on_h100(with_engine(study(count=512), stack=4)).at_once["proxies"] == (8, 4)


def with_engine(of, **engine):
    """The study with such an engine."""
    return of.model_copy(update={"proxies": of.proxies.model_copy(update={"engine": EngineSettings(**engine)})})


def seconds_of(plan, name):
    return next(stage.seconds for stage in plan.stages if stage.stage == name)


def test_a_model_on_several_devices_keeps_them_busy_for_its_share_of_the_time():
    pile = load_study(ROOT / "studies" / "pile.yaml")
    alone, several = on_h100(pile), on_h100(with_engine(pile, gpus_per_model=4))
    assert (alone.at_once["confirmation"], alone.per_model["confirmation"]) == ((3, 1), 1)
    # Two of the three models at once, each on four devices: two rounds of a quarter of the time.
    assert (several.at_once["confirmation"], several.per_model["confirmation"]) == ((8, 1), 4)
    assert seconds_of(several, "confirmation") == pytest.approx(seconds_of(alone, "confirmation") / 2, rel=0.01)
    shown = next(work for work in plan_as_json(several)["works"] if work["what"] == "confirmation")
    assert (shown["devices"], shown["devices_per_model"]) == (8, 4)
    # Stacked proxies share devices as before, and Ray does not know the setting.
    assert seconds_of(several, "proxy_checkpoints") == seconds_of(alone, "proxy_checkpoints")
    assert on_h100(with_engine(pile, kind="ray", gpus_per_model=4)).per_model["confirmation"] == 1


def test_all_devices_for_one_model_cost_what_a_device_for_each_does():
    pile = load_study(ROOT / "studies" / "pile.yaml")
    alone = on_h100(pile, devices=3)
    together = on_h100(with_engine(pile, gpus_per_model=8), devices=3)
    assert together.per_model["confirmation"] == 3
    assert seconds_of(together, "confirmation") == pytest.approx(seconds_of(alone, "confirmation"), rel=0.01)
    assert together.device_hours() == pytest.approx(alone.device_hours(), rel=0.01)


def test_a_step_of_fewer_windows_than_devices_is_warned_of():
    few = study()
    training = few.proxies.training_settings
    asked = with_engine(few, gpus_per_model=training.windows_per_step + 1, stack=1)
    plan = on_h100(asked, devices=2 * training.windows_per_step)
    assert any("lower proxies.engine.gpus_per_model" in warning for warning in plan.warnings)


def test_a_model_that_no_device_holds_is_divided_among_several():
    large = study(layers=32, width=4096)
    small = H100.model_copy(update={"memory_gb": 30.0})

    def planned(**engine):
        return plan_study(with_engine(large, **engine), hardware=small)

    with pytest.raises(PlanError, match=r"on each device, which has 30") as error:
        planned()
    assert "gpus_per_model" in str(error.value)
    with pytest.raises(PlanError):
        planned(gpus_per_model=8, divide=False)
    plan = planned(gpus_per_model=8)
    assert (plan.per_model["proxies"], plan.divided["proxies"]) == (8, True)
    assert plan.memory["proxies"].total < 30e9
    assert not plan.warnings
    shown = plan_as_json(plan)["works"][0]
    assert (shown["devices_per_model"], shown["divided"]) == (8, True)
    # What one device holds is not divided unless the study says so.
    assert not plan_study(with_engine(study(), gpus_per_model=8, stack=1), hardware=H100).divided["proxies"]
    asked = plan_study(with_engine(study(), gpus_per_model=7, stack=1, divide=True), hardware=H100)
    assert asked.divided["proxies"]
    assert any("cannot be shared by the 7 devices" in warning for warning in asked.warnings)


def test_a_trial_of_stacked_models_says_what_each_of_them_takes():
    from regmix_pipeline.planning.measured import trial

    work = plan_study(study(count=8), teraflops=1.0).works[0]
    tiny = work.model.model_copy(update={"context": 16, "layers": 1, "width": 16, "heads": 2, "ffn_width": 16})
    few = work.training.model_copy(update={"windows_per_step": 8, "tokens": 16 * 8 * 500})
    found = trial(replace(work, model=tiny, vocabulary=64, training=few), ["a", "b"], 1, 0.3, stack=4)
    assert found is not None
    assert found.stack == 4
    assert "each with 4 models as one program" in found.source
    assert 0 < found.step < 0.1
