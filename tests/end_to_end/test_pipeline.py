"""The whole method on real text through Dagster: made once, then only what changed, and every artefact checked."""

import collections
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys

import dagster as dg
import pytest
import yaml

from regmix_pipeline.assets.runner import RunFailedError, run_stale
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.phase_checkpoints import PHASE_CHECKPOINTS
from regmix_pipeline.proxies.size_runs import SIZE_RUNS
from regmix_pipeline.stages import STAGES, up_to
from regmix_pipeline.strategies.stage import STRATEGY_COMPARISON

ORDER = [stage.name for stage in STAGES]
DECIDING = up_to(MIXTURE_DECISION)
"""Larger models that confirm another decision are another test's."""
OBSERVED_BACK = ("finished_proxies", "adopted_mixtures")
"""Recipes name what matters of these, not their versions."""


@pytest.fixture(scope="module")
def place(real_text, tiny_settings, tmp_path_factory):
    """A study, its home, and the lines that its first run said."""
    folder = tmp_path_factory.mktemp("study")
    text = folder / "text"
    text.mkdir()
    for path in real_text.iterdir():
        (text / path.name).write_bytes(path.read_bytes())
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_settings, sort_keys=False))
    return folder


def in_text(stale):
    """Key -> reason as text."""
    return {key: str(reason) for key, reason in stale.items()}


def workspace_at(place, said=None):
    lines = [] if said is None else said
    # One worker: to start another one costs more than it trains.
    return Workspace(place / "tiny.yaml", place / "home", say=lines.append, workers=1)


@pytest.fixture(scope="module")
def reads():
    """Stage -> the others that it read in the first run."""
    return collections.defaultdict(set)


@pytest.fixture(scope="module")
def first_run(place, reads):
    said, progress, view = [], io.StringIO(), Stage.view

    def noting(stage, workspace):
        def note(assets):
            declared = assets & {stage.name, *stage.upstream}
            if len(declared) == 1:
                reads[stage.name].update(declared - {stage.name})

        return view(stage, workspace).read_by(note)

    with contextlib.redirect_stderr(progress), pytest.MonkeyPatch.context() as patched:
        patched.setattr(Stage, "view", noting)
        done = run_stale(workspace_at(place, said))
    return done, said, progress.getvalue()


@pytest.fixture
def copy(place, first_run, tmp_path):
    """A copy of the study after its first run, for a test that changes it."""
    shutil.copytree(place, tmp_path / "study")
    return tmp_path / "study"


def query(place, sql):
    with read_ledger(workspace_at(place).ledger) as connection:
        return connection.execute(sql).fetchall()


def test_every_stage_is_made_in_order_with_an_eta(first_run):
    done, said, progress = first_run
    assert [stage.stage for stage in done] == ORDER
    unasked = ["phase_checkpoints", "size_runs", "imported_runs", "strategy_comparison"]
    assert [stage.stage for stage in done if not stage.stale] == unasked
    assert re.search(r"proxy_checkpoints\s+\d+/16 · ETA", progress)
    assert [line for line in said if line.startswith(f"[{len(ORDER) - 1}/{len(ORDER)}] mixture_report: done")]


def test_mixtures_are_what_was_asked_for(place, first_run):
    rows = query(place, "select mixture, sum(weight), any_value(origin) from current_mixtures group by mixture")
    assert len(rows) == 13
    assert all(abs(total - 1) < 1e-9 for _, total, _ in rows)
    assert sorted({origin for *_, origin in rows}) == ["natural", "sampled"]


def test_losses_fall_during_training_and_end_with_their_errors(place, first_run):
    rows = query(
        place,
        "select proxy, target, arg_min(loss, step), arg_max(loss, step) from current_proxy_losses "
        "where not final group by proxy, target",
    )
    assert len(rows) == 16 * 2
    falling = sum(first > last for _, _, first, last in rows)
    assert falling > 0.9 * len(rows)
    final = query(place, "select loss, standard_error, bits_per_byte from current_proxy_losses where final")
    assert len(final) == 16 * 2
    # Better than guessing among 512 tokens, and no better than the text allows.
    assert all(1 < loss < 6.24 and 0 < error < 0.5 and 0.5 < bits < 8 for loss, error, bits in final)


def test_training_on_code_helps_on_code(place, first_run):
    (correlation,) = query(
        place,
        "select corr(m.weight, l.loss) from current_proxy_losses l join current_mixtures m using (mixture) "
        "where l.final and l.target = 'code' and m.domain = 'code'",
    )[0]
    assert correlation < -0.5


def test_every_stage_reads_all_that_it_declares(first_run, reads):
    unread = {stage.name: set(stage.upstream) - reads[stage.name] for stage in STAGES}
    assert {name: missing for name, missing in unread.items() if missing} == {
        # Of a study with `phases`.
        "phase_checkpoints": set(PHASE_CHECKPOINTS.upstream),
        # After a revision of documents alone.
        "proxy_checkpoints": {"finished_proxies", "phase_checkpoints"},
        "proxy_losses": {"finished_proxies"},
        # Of imported runs whose tokens are known, and of a second size.
        "regressor": {"domain_inventory", "size_runs"},
        # Of a study with `proxies.sizes`.
        "size_runs": set(SIZE_RUNS.upstream),
        "strategy_comparison": set(STRATEGY_COMPARISON.upstream),  # not part of the study
    }


def test_the_decision_keeps_the_limits_and_names_its_evidence(place, first_run):
    record = workspace_at(place).json("mixture_decision", "decision.json")
    weights = record["mixture"]["weights"]
    assert sum(weights.values()) == pytest.approx(1, abs=1e-9)
    assert Mixture.from_weights(weights).id == record["mixture"]["id"]
    for row in record["domains"]:
        assert row["floor"] - 1e-9 <= row["weight"] <= row["cap"] + 1e-9
    assets = {place.split("/")[0] for place in record["versions"]}
    assert assets == set(ORDER[: ORDER.index("further_mixtures") + 1]) - {
        "phase_checkpoints",
        "size_runs",
        "imported_runs",
        *OBSERVED_BACK,
    }
    names = {row["name"] for row in record["predictions"]}
    assert {"chosen", "natural", "uniform", "best_observed"} <= names
    exported = yaml.safe_load(workspace_at(place).artefact("mixture_decision", suffix="mixture.yaml").read_text())
    assert exported["train"] == {f"train_{domain}": weight for domain, weight in weights.items()}
    assert json.loads(query(place, "select record from current_decisions")[0][0]) == record


def test_regressor_records_its_choices_and_what_unfinished_proxies_predict(place, first_run):
    choices = query(place, "select target, chosen_by, regressor, used from current_regressor_choices")
    assert len(choices) == 2 * 2
    chosen = {target: regressor for target, _, regressor, used in choices if used}
    assert chosen == workspace_at(place).json("mixture_decision", "decision.json")["regressors"]
    nested = query(place, "select distinct regressor from current_regressor_scores where regressor like 'nested%'")
    assert {name for (name,) in nested} == {"nested_choice_by_rank", "nested_choice_by_calibration"}
    steps = query(
        place,
        "select law, target, max(share_of_steps), arg_max(spearman, share_of_steps), any_value(mixtures) "
        "from current_step_laws group by law, target",
    )
    # Science is not a domain of its own, so BiMix's law has nothing to say of it.
    assert {(law, target) for law, target, *_ in steps} == {
        *(("linear", target) for target in ("science", "code")),
        *(("power", target) for target in ("science", "code")),
        ("bimix", "code"),
    }
    assert all(share == 1 and mixtures == 13 for _, _, share, _, mixtures in steps)
    # At the last step all that is between extrapolated and measured is the smaller sample of windows.
    assert {law: score for law, target, _, score, _ in steps if target == "code"}["linear"] > 0.6


def test_the_pure_law_is_recorded_beside_the_chosen_regressors(place, first_run):
    rows = query(place, "select name, law, predicted, predicted_by_law from current_predictions")
    assert {name for name, *_ in rows} >= {"chosen", "natural", "uniform", "best_observed"}
    assert {law for _, law, *_ in rows} == {"saturation"}
    # The law is a regressor of its own: where another one was chosen, the two differ.
    chosen = set(workspace_at(place).json("mixture_decision", "decision.json")["regressors"].values())
    assert (chosen == {"saturation"}) == all(predicted == by_law for *_, predicted, by_law in rows)
    assert all(abs(predicted - by_law) < 0.5 for *_, predicted, by_law in rows)


def test_larger_models_were_trained_on_three_mixtures(place, first_run):
    rows = query(place, "select name, target, loss, predicted from current_confirmations")
    assert {row[:2] for row in rows} == {
        (name, target) for name in ("chosen", "natural", "uniform") for target in ("science", "code", "objective")
    }
    assert all(loss > 0 and predicted > 0 for *_, loss, predicted in rows)
    # More parameters and more tokens must show.
    assert all(loss < predicted for *_, loss, predicted in rows)


def test_the_report_is_one_page_about_this_decision(place, first_run):
    page = workspace_at(place).artefact("mixture_report").read_text()
    record = workspace_at(place).json("mixture_decision", "decision.json")
    assert record["decision"] in page
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?://', page)


def test_dagster_knows_every_partition_version_and_check(place, first_run):
    workspace = workspace_at(place)
    os.environ["DAGSTER_HOME"] = str(workspace.path("dagster"))
    with dg.DagsterInstance.get() as instance:
        assert sorted(instance.get_dynamic_partitions("tiny/domain")) == ["code", "descriptions", "licences", "science"]
        mixtures = set(instance.get_dynamic_partitions("tiny/mixture"))
        assert len(mixtures) == 13
        for name in ("proxy_checkpoints", "proxy_losses"):
            assert set(instance.get_materialized_partitions(dg.AssetKey(["tiny", name]))) == mixtures
        for name in ("domain_inventory", "mixtures", "regressor", "optimal_mixture", "mixture_decision"):
            event = instance.get_latest_materialization_event(dg.AssetKey(["tiny", name]))
            assert event is not None
            tags = event.asset_materialization.tags
            assert tags["dagster/data_version"] == workspace.need(name).version
        checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [
                dg.AssetCheckKey(dg.AssetKey(["tiny", "proxy_losses"]), "every_loss_is_finite"),
                dg.AssetCheckKey(dg.AssetKey(["tiny", "optimal_mixture"]), "optimum_respects_the_limits"),
            ]
        )
        assert {record.status.value for record in checks.values()} == {"SUCCEEDED"}


def test_a_second_run_does_nothing(place, first_run):
    runs = _runs(place)
    said = []
    done = run_stale(workspace_at(place, said))
    assert all(not stage.stale for stage in done)
    assert all(line.endswith("up to date") for line in said)
    assert _runs(place) == runs


def test_a_changed_source_remakes_what_depends_on_it_and_nothing_else(copy):
    before = workspace_at(copy)
    shards = {key: before.need("token_shards", key).version for key in before.study.sources}
    mixtures = {entry["id"]: entry["parts"] for entry in before.json("mixtures")["mixtures"]}
    with (copy / "text" / "licences.jsonl").open("a") as file:
        file.write(json.dumps({"id": "new", "text": "A licence that nobody has read before. " * 20}) + "\n")

    done = {stage.stage: stage for stage in run_stale(workspace_at(copy), DECIDING)}

    after = workspace_at(copy)
    assert list(done["documents"].stale) == ["licences"]
    assert done["tokenizer"].stale == {}
    assert in_text(done["token_shards"].stale) == {"licences": "changed: documents/licences"}
    changed = {key for key in shards if after.need("token_shards", key).version != shards[key]}
    assert changed == {"licences"}
    kept = {entry["id"] for entry in after.json("mixtures")["mixtures"]} & set(mixtures)
    assert len(kept) >= 12
    without = {key for key in kept if "licences" not in mixtures[key]}
    assert without
    assert set(done["proxy_checkpoints"].stale) & kept == kept - without
    assert set(done["proxy_losses"].stale) & without == set()
    assert done["mixture_decision"].stale


def test_a_failed_stage_says_why_and_what_was_finished_is_kept(copy):
    path = copy / "text" / "descriptions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"text": "half')
    with pytest.raises(RunFailedError, match=r"descriptions\.jsonl:\d+"):
        run_stale(workspace_at(copy))
    path.write_bytes(whole)
    assert [stage.stage for stage in run_stale(workspace_at(copy)) if stage.stale] == ["documents"]


def test_missing_artefacts_are_put_back(copy):
    workspace = workspace_at(copy)
    key = next(iter(workspace.records.keys("proxy_checkpoints")))
    lost = [
        workspace.artefact("proxy_checkpoints", key, "model.safetensors"),
        workspace.artefact("mixture_decision", suffix="mixture.yaml"),
        workspace.artefact("token_shards", "code", "train.ds"),
    ]
    before = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()
    stale = {stage.stage: stage.stale for stage in run_stale(workspace_at(copy)) if stage.stale}
    assert in_text(stale["token_shards"]) == {"code": f"{lost[2].relative_to(workspace.home)} is missing"}
    assert list(stale["proxy_checkpoints"]) == [key]
    assert [path.read_bytes() for path in lost] == before
    assert all(not stage.stale for stage in run_stale(workspace_at(copy)))


def test_a_failed_blocking_check_stops_every_later_run_until_it_is_mended(copy):
    path = workspace_at(copy).artefact("token_shards", "code", "train.ds")
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    workspace_at(copy).withdraw("domain_inventory")
    for _ in range(2):
        with pytest.raises(RunFailedError, match="altered after the shard was made"):
            run_stale(workspace_at(copy))
    path.write_bytes(whole)
    assert [stage.stage for stage in run_stale(workspace_at(copy)) if stage.stale] == ["domain_inventory"]


def test_another_question_is_another_decision(copy, tiny_settings):
    before = workspace_at(copy).need("mixture_decision").version
    study = copy / "tiny.yaml"
    text = study.read_text()
    study.write_text(yaml.safe_dump(tiny_settings | {"rank_correlation_floor": 0.9999}, sort_keys=False))
    stale = [stage.stage for stage in run_stale(workspace_at(copy)) if stage.stale]
    assert stale == ["mixture_decision", "confirmation", "mixture_report"]
    record = workspace_at(copy).json("mixture_decision", "decision.json")
    assert record["decision"] != before
    assert any("floor 0.9999" in flag for flag in record["flags"])
    study.write_text(text)
    run_stale(workspace_at(copy))
    assert workspace_at(copy).need("mixture_decision").version == before


def test_the_command_line_runs_reports_and_refuses(place, first_run):
    def regmix(*arguments):
        command = [sys.executable, "-m", "regmix_pipeline.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=place)

    study = ["--study", "tiny.yaml", "--home", "home"]
    again = regmix("run", *study)
    assert again.returncode == 0, again.stderr
    assert "nothing to do: everything is up to date" in again.stderr
    assert "Larger models: loss in nats per token" in again.stdout
    status = regmix("status", *study)
    assert status.returncode == 0
    assert re.search(r"^proxy_checkpoints +13 made, 0 stale$", status.stdout, re.MULTILINE)
    missing = regmix("run", "--study", "none.yaml")
    assert missing.returncode == 1
    assert "no such study file" in missing.stderr
    assert "Traceback" not in missing.stderr


def _runs(place):
    os.environ["DAGSTER_HOME"] = str(workspace_at(place).path("dagster"))
    with dg.DagsterInstance.get() as instance:
        return instance.get_runs_count()


def test_a_domain_can_be_withdrawn(copy, tiny_settings):
    domains = {name: domain for name, domain in tiny_settings["domains"].items() if name != "licences"}
    (copy / "tiny.yaml").write_text(yaml.safe_dump(tiny_settings | {"domains": domains}, sort_keys=False))
    run_stale(workspace_at(copy), DECIDING)
    workspace = workspace_at(copy)
    assert "licences" not in workspace.json("mixture_decision", "decision.json")["mixture"]["weights"]
    assert workspace.records.keys("token_shards") == ["code", "descriptions", "science"]
    assert all(not stage.stale for stage in run_stale(workspace_at(copy), DECIDING))
