"""Commands as real processes: what they are given, what counts of what they report, retries, silence, the end."""

import json
import re
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from regmix_pipeline.files import read_json
from regmix_pipeline.proxies.commands.inputs import run_folder
from regmix_pipeline.proxies.commands.run import LOG, REJECTED
from regmix_pipeline.proxies.integrity import require_intact, trajectory_of
from regmix_pipeline.proxies.tasks import evaluation_specs


def one(executor, spec):
    (result,) = executor.run([spec])
    return result


def gone(process):
    """Whether a process has ended, if nobody has asked for its status as well."""
    try:
        return " Z " in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True


def text_of_log(spec):
    return (run_folder(spec) / LOG).read_text()


def test_a_real_trainer_leaves_a_finished_proxy(executor, command_spec):
    spec = command_spec()
    result = one(executor, spec)
    assert result.error is None, result.error
    assert spec.is_finished
    assert sorted(path.name for path in spec.output.iterdir()) == ["losses.json", "proxy.json", "trajectory.parquet"]
    require_intact(spec.output)
    value = result.value
    assert {name: used["tokens"] for name, used in value["domains"].items()} == {
        "books": 230,
        "code": 922,
        "web": 384,
    }
    assert value["tokens"] == spec.training.tokens == 1536
    assert value["domains"]["books"]["epochs"] == pytest.approx(value["domains"]["books"]["tokens"] / 500)
    # A bigram model knows a Markov chain better than a guess among all tokens does.
    losses = read_json(spec.output / "losses.json")["losses"]
    assert all(loss["loss"] < 0.8 * np.log(spec.vocabulary) for loss in losses.values())
    assert one(executor, spec).reused
    assert text_of_log(spec).count("== ") == 1


def test_reported_losses_are_the_evaluations(executor, reporting, targets):
    spec = reporting("report['losses']['code'] = {'loss': 2.0, 'standard_error': 0.5, 'bits_per_byte': 1.0}")
    one(executor, spec)

    class Workspace:
        """As far as `evaluation_specs` looks at one."""

        def path(self, *parts):
            return spec.folder.parent.joinpath(*parts)

    tasks = evaluation_specs(Workspace(), [spec], targets, spec.evaluation)
    found = {result.value["target"]: result.value for result in executor.run(tasks)}
    assert found["books"]["loss"] == 2.5
    assert found["books"]["standard_error"] is None
    assert (found["code"]["loss"], found["code"]["bits_per_byte_standard_error"]) == (2.0, 0.25)
    assert found["code"]["target_version"] == targets["code"].version
    assert all(result.reused for result in executor.run(tasks))
    (spec.output / "losses.json").write_text("{}")
    for task in tasks:
        task.output.unlink()
    assert all("altered" in result.error.problem for result in list(executor.run(tasks))[:1])


def test_losses_along_the_way_are_its_trajectory(executor, reporting):
    point = "{'step': 3, 'tokens': 100, 'losses': {'code': 4.5}}"
    spec = reporting(f"report |= {{'trajectory': [{point}], 'parameters': 9, 'training_loss': 2.25}}")
    assert one(executor, spec).value["parameters"] == 9
    (row,) = trajectory_of(spec.output)
    assert (row["target"], row["step"], row["tokens"], row["loss"]) == ("code", 3, 100, 4.5)


def test_the_command_is_given_all_that_it_may_ask_for(executor, reporting, shards, targets):
    spec = reporting()
    names = ("mixture", "proxy", "seed", "tokens", "slot", "shards")
    command = spec.trainer.settings.command + "; printf '%s\\n' " + " ".join(f"{{{name}}}" for name in names)
    settings = spec.trainer.settings.model_copy(update={"command": command})
    spec = spec.model_copy(update={"trainer": spec.trainer.model_copy(update={"settings": settings})})
    assert one(executor, spec).error is None
    mixture, proxy, seed, tokens, slot, files = text_of_log(spec).splitlines()[-6:]
    assert (mixture, proxy, seed) == (spec.exact_mixture.id, spec.id, "3")
    assert (tokens, slot) == (str(spec.training.tokens), "0")
    found = read_json(run_folder(spec) / "shards.json")
    assert files == str(run_folder(spec) / "shards.json")
    assert found["domains"]["web"] == {
        "file": str(shards["web"].path),
        "dtype": "uint16",
        "tokens": 5000,
        "available_tokens": 5000,
    }
    assert found["targets"]["code"]["file"] == str(targets["code"].path)


WRONG = {
    "report['losses']['code'] = float('nan')": r"losses\.code\.loss: .*finite",
    "report['losses']['code'] = {'loss': 2.0, 'standard_eror': 0.1}": r"standard_eror: there is no such field",
    "report['losses']['code'] = 'low'": r"losses\.code: a section with fields is needed",
    "report['losses']['physics'] = 2.0": r"'physics' is not a target of the study",
    "del report['losses']['code']": r"the loss on code is missing",
    "del report['step']": r"step: this field is needed",
    "report['tokens']['code'] //= 2": r"[\d,]+ tokens of code were executed, and 922 are asked for",
    "report['tokens']['law'] = 5": r"tokens were drawn from 'law', which is not in the mixture",
    "report['tokens'] = dict.fromkeys(report['tokens'], 0)": r"0 tokens of books were executed, and 230",
    "report = json.dumps(report)[:-20]": r"is not complete JSON",
    "report = ''": r"is empty",
    "report = []": r"the whole: ",
}


def test_what_does_not_count_is_named_set_aside_and_never_read_again(executor, reporting):
    # One that counts is first: where none does, no further command is started.
    made = [reporting(change, retries=3, seed=seed) for seed, change in enumerate(["", *WRONG])]
    change_of = dict(zip((spec.id for spec in made), ["", *WRONG], strict=True))
    for result in executor.run(made):
        spec, change = result.task, change_of[result.task.id]
        if not change:
            assert result.error is None
            continue
        error = result.error
        assert re.search(WRONG[change], error.problem), (change, error)
        assert spec.id in error.where
        assert "losses.json" in error.where
        assert error.remedy
        assert not spec.output.exists()
        assert text_of_log(spec).count("== ") == 1
        assert (run_folder(spec) / REJECTED).is_file()
        assert not (run_folder(spec) / "losses.json").exists()


def test_a_tolerance_is_of_all_tokens_and_stated(executor, reporting):
    change = "report['tokens']['code'] -= 20"
    assert "give or take 15" in one(executor, reporting(change)).error.problem
    assert one(executor, reporting(change, tolerance=0.02)).error is None


FAILS_ONCE = "if not (out / 'tried').exists():\n    (out / 'tried').touch(); print('no GPU', flush=True); sys.exit(9)"


def test_a_command_that_fails_is_run_again_and_then_named_with_its_log(executor, reporting):
    assert one(executor, reporting(FAILS_ONCE, retries=1)).error is None
    assert "run again" in executor.said[0]
    spec = reporting(FAILS_ONCE)
    error = one(executor, spec).error
    assert error.problem == "the command ended with status 9: no GPU"
    assert str(run_folder(spec) / LOG) in error.where
    assert one(executor, spec).error is None  # run again: it goes on in its folder


def test_nothing_reported_and_a_command_that_is_not_there(executor, command_spec, reporting):
    error = one(executor, command_spec("pass")).error
    assert re.search(r"the command ended and left no .*/losses\.json", error.problem)
    spec = reporting()
    settings = spec.trainer.settings.model_copy(update={"command": "./no-such {mixture_file} {out}"})
    error = one(
        executor, spec.model_copy(update={"trainer": spec.trainer.model_copy(update={"settings": settings})})
    ).error
    assert re.search(r"status 127: .*not found", error.problem)


def test_a_hung_command_is_ended_with_all_its_children(executor, command_spec):
    spec = command_spec(
        "import subprocess, sys; from pathlib import Path\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "(Path(sys.argv[2]) / 'child').write_text(str(child.pid)); child.wait()",
        silent_minutes=0.02,
    )
    error = one(executor, spec).error
    assert re.search(r"wrote nothing for 0\.02 minutes", error.problem)
    assert gone((run_folder(spec) / "child").read_text())


def test_so_many_run_at_once(executor, command_spec):
    script = (
        "import sys, time; from pathlib import Path\n"
        "folder = Path(sys.argv[2]).parent; mine = folder / f'{Path(sys.argv[2]).name}.now'; mine.touch()\n"
        "time.sleep(0.3); print(len(list(folder.glob('*.now')))); mine.unlink()"
    )
    specs = [command_spec(script, seed=seed) for seed in range(4)]
    for _ in executor.run(specs):
        pass
    # Its last line, of how many it saw.
    seen = [int(text_of_log(spec).splitlines()[-1]) for spec in specs]
    assert max(seen) == 2


def test_where_all_fail_no_further_command_is_started(executor, command_spec):
    specs = [command_spec("raise SystemExit(1)", seed=seed) for seed in range(9)]
    errors = [result.error.problem for result in executor.run(specs)]
    started = [spec for spec in specs if run_folder(spec).exists()]
    assert 5 <= len(started) <= 6
    assert sum("was not started" in problem for problem in errors) == 9 - len(started)


def test_a_stop_ends_the_commands(executor, command_spec):
    script = "import os, sys, time; from pathlib import Path\n(Path(sys.argv[2]) / 'id').write_text(str(os.getpid()))\n"
    fails, waits = command_spec("raise SystemExit(1)"), command_spec(script + "time.sleep(1000)", seed=4)
    there = run_folder(waits) / "id"
    with closing(executor.run([waits, fails])) as results:
        next(results)
        until = time.monotonic() + 60
        while not (there.is_file() and there.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
    assert gone(there.read_text())


def test_what_a_killed_run_left_whole_is_taken_and_what_it_left_half_is_not(executor, reporting):
    spec = reporting("report['losses']['code'] = 9.0")
    out = run_folder(spec)
    out.mkdir(parents=True)
    tokens = {name: round(part / 1e6 * spec.training.tokens) for name, part in spec.mixture.items()}
    whole = json.dumps({"losses": {"code": 1.0, "books": 1.0}, "step": 1, "tokens": tokens})
    (out / "losses.json").write_text(whole)
    assert one(executor, spec).value["steps"] == 1
    assert not (out / LOG).exists()
    other = reporting("report['losses']['code'] = 9.0", seed=8)
    run_folder(other).mkdir(parents=True)
    (run_folder(other) / "losses.json").write_text(whole[:-1])
    assert one(executor, other).value["steps"] == 7
    assert "does not count" in executor.said[0]


def test_an_id_holds_what_decides_the_result_and_nothing_else(command_spec, spec_of):
    spec = command_spec()
    assert spec.id != spec_of().id

    def changed(**settings):
        made = spec.trainer.settings.model_copy(update=settings)
        return spec.model_copy(update={"trainer": spec.trainer.model_copy(update={"settings": made})}).id

    for same in ({"tolerance": 0.5}, {"retries": 7}, {"silent_minutes": 1.0}, {"hours": 2.0}):
        assert changed(**same) == spec.id
    for other in ({"command": "x {out} {mixture_file}"}, {"format": "regmix"}, {"data": "/x/{domain}"}):
        assert changed(**other) != spec.id
    edited = spec.trainer.model_copy(update={"contents": {"train.py": "0" * 64}})
    assert spec.model_copy(update={"trainer": edited}).id != spec.id
    elsewhere = spec.trainer.model_copy(update={"base": spec.folder, "study": "other"})
    assert spec.model_copy(update={"trainer": elsewhere}).id == spec.id
    targets = {"code": spec.targets["code"]}
    assert spec.model_copy(update={"targets": targets}).id != spec.id
    shape = spec.model.model_copy(update={"layers": 9})
    assert spec.model_copy(update={"model": shape}).id == spec.id
