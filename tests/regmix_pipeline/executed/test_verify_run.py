"""`regmix verify-run`: the command itself, on logs as trainers write them."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from regmix_pipeline.cli import app

SHARES = {"web": 0.5, "code": 0.3, "books": 0.2}
PER_STEP = 10_000


@pytest.fixture
def plan(tmp_path):
    """A plan as `regmix export` writes it, with two files of web."""
    domains = [
        {"domain": domain, "available_tokens": 600_000, "tokens": round(share * 10**6), "share": share, "files": 1}
        for domain, share in SHARES.items()
    ]
    files = [{"domain": domain, "file": f"s3://bucket/{domain}/0.npy", "tokens": 1} for domain in SHARES]
    files.append({"domain": "web", "file": "s3://bucket/web/1.npy", "tokens": 1})
    path = tmp_path / "mixture.plan.json"
    path.write_text(json.dumps({"about": {"decision": "d1"}, "max_epochs": 4, "domains": domains, "files": files}))
    return path


def counts(steps=100, changed_at=None, changed=None):
    """Step -> tokens of each source; other shares after a step."""
    for step in range(1, steps + 1):
        shares = changed if changed and step > changed_at else SHARES
        yield step, {domain: round(share * PER_STEP) for domain, share in shares.items()}


def verify(plan, *words):
    ran = CliRunner().invoke(app, ["verify-run", *map(str, words), "--plan", str(plan), "--json"])
    return ran.exit_code, json.loads(ran.stdout) if ran.stdout.startswith("{") else ran.output


CHANGED = {"web": 0.4, "code": 0.4, "books": 0.2}


def written(folder, kind, rows):
    """The same run as different trainers log it."""
    rows = list(rows)
    path = folder / f"log.{kind.split()[0]}"
    long = [{"step": step, "dataset_id": name, "tokens": n} for step, each in rows for name, n in each.items()]
    ids = {name: number for number, name in enumerate(SHARES)}
    if kind == "csv long":
        pl.DataFrame(long).write_csv(path)
    elif kind == "jsonl numbers":  # torchtitan's names of datasets, or their places in the exported list
        path.write_text("\n".join(json.dumps({**row, "dataset_id": ids[row["dataset_id"]]}) for row in long))
    elif kind == "jsonl names":
        path.write_text("\n".join(json.dumps({**row, "dataset_id": f"regmix_{row['dataset_id']}"}) for row in long))
    elif kind == "jsonl files":
        path.write_text("\n".join(json.dumps({**row, "dataset_id": f"/{row['dataset_id']}/0.npy"}) for row in long))
    elif kind == "parquet wide":
        pl.DataFrame([{"step": step, "loss": 3.0, **each} for step, each in rows]).write_parquet(path)
    elif kind == "json nested":
        path.write_text(json.dumps([{"_step": step, "tokens": each} for step, each in rows]))
    elif kind == "csv totals":
        totals = np.cumsum([list(each.values()) for _, each in rows], axis=0)
        columns = {f"tokens_seen/{name}": totals[:, place] for place, name in enumerate(SHARES)}
        pl.DataFrame({"global_step": [step for step, _ in rows], **columns}).write_csv(path)
    return path


KINDS = ["csv long", "jsonl numbers", "jsonl names", "jsonl files", "parquet wide", "json nested", "csv totals"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_as_planned_and_one_that_drifts(plan, tmp_path, kind):
    status, found = verify(plan, written(tmp_path, kind, counts()))
    assert (status, found["on_plan"], found["tokens"]) == (0, True, 100 * PER_STEP), found
    assert {each["domain"]: each["executed"] for each in found["sources"]} == pytest.approx(SHARES)
    status, found = verify(plan, written(tmp_path, kind, counts(changed_at=40, changed=CHANGED)))
    assert (status, found["on_plan"]) == (1, False)
    by_domain = {each["domain"]: each for each in found["sources"]}
    assert [name for name, each in by_domain.items() if each["drifted"]] == ["web", "code"]
    for name in ("web", "code"):
        assert (by_domain[name]["from_step"], by_domain[name]["from_tokens"]) == (40, 40 * PER_STEP)
        assert by_domain[name]["share_since"] == pytest.approx(CHANGED[name])


def test_a_drift_that_was_mended_is_still_seen(plan, tmp_path):
    middle = [(step, dict(each)) for step, each in counts()]
    for _, each in middle[20:40]:
        each["web"], each["code"] = each["web"] - 1_000, each["code"] + 1_000
    for _, each in middle[60:80]:
        each["web"], each["code"] = each["web"] + 1_000, each["code"] - 1_000
    status, found = verify(plan, written(tmp_path, "csv long", middle))
    assert status == 1
    assert found["sources"][0]["executed"] == pytest.approx(SHARES["web"])
    assert found["sources"][0]["drifted"]


def test_the_luck_of_a_random_draw_is_allowed_for(plan, tmp_path):
    rng = np.random.default_rng(5)
    drawn = rng.multinomial(20, list(SHARES.values()), size=40) * 512
    rows = [(step, dict(zip(SHARES, map(int, row), strict=True))) for step, row in enumerate(drawn, 1)]
    path = written(tmp_path, "csv long", rows)
    assert verify(plan, path, "--tolerance", 0)[0] == 1
    assert verify(plan, path, "--tolerance", 0, "--sequence-length", 512)[0] == 0


def test_steps_that_a_resumed_run_logged_again_count_once_and_ranks_are_summed(plan, tmp_path):
    rows = list(counts(60)) + [(step, each) for step, each in counts(100) if step > 50]
    path = written(tmp_path, "csv long", rows)
    assert verify(plan, path)[1]["tokens"] == 100 * PER_STEP
    half = [
        {"step": s, "rank": r, "source": n, "tokens": v // 2} for s, e in counts() for r in (0, 1) for n, v in e.items()
    ]
    (tmp_path / "ranks.jsonl").write_text("\n".join(map(json.dumps, half)))
    status, found = verify(plan, tmp_path / "ranks.jsonl")
    assert (status, found["tokens"]) == (0, 100 * PER_STEP)


def test_a_source_that_is_read_too_often_is_said(plan, tmp_path):
    status, found = verify(plan, written(tmp_path, "csv long", counts(500)))
    assert status == 1
    assert {each["domain"]: each["repeated"] for each in found["sources"]} == {
        "web": True,
        "code": False,
        "books": False,
    }


def test_states_of_litdatas_loader(plan, tmp_path):
    def state(number, pieces):
        # In another order than the plan's: the address of a folder says whose it is, not that of its copy in a cache.
        datasets = {
            str(place): {"num_samples_yielded": count, "world_size": 2, "item_loader": {"block_size": 100}}
            | {"input_dir_path": "/cache/6f3a", "input_dir_url": f"s3://bucket/{name}"}
            for place, (name, count) in enumerate(reversed(pieces.items()))
        }
        path = tmp_path / f"state{number}.json"
        path.write_text(json.dumps({"dataset": datasets, "current_epoch": 1}))
        return path

    fine = [state(n, {"web": 500 * n, "code": 300 * n, "books": 200 * n}) for n in (1, 2, 3)]
    status, found = verify(plan, *fine)
    assert (status, found["tokens"]) == (0, 3 * 1_000 * 100 * 2)
    last = state(4, {"web": 1_500, "code": 1_900, "books": 600})
    status, found = verify(plan, *fine, last)
    assert status == 1
    assert {each["domain"]: each["from_tokens"] for each in found["sources"]} == dict.fromkeys(SHARES, 600_000)


def test_the_state_of_olmo_cores_loader_with_its_order(plan, tmp_path):
    text = json.loads(plan.read_text())
    for row, tokens in zip(text["files"], (300_000, 300_000, 200_000, 200_000), strict=True):
        row["tokens"] = tokens
    plan.write_text(json.dumps(text))
    order = np.random.default_rng(1).permutation(1_000).astype(np.uint32)
    order.tofile(tmp_path / "global_indices.npy")
    state = {"data_loader": {"tokens_processed": 400_000, "batches_processed": 40, "sequence_length": 1_000}}
    (tmp_path / "state.json").write_text(json.dumps(state))
    status, said = verify(plan, tmp_path / "state.json")
    assert status == 1
    assert "global_indices_*.npy" in said
    status, found = verify(plan, tmp_path / "state.json", "--order", tmp_path / "global_indices.npy")
    assert (status, found["tokens"]) == (0, 400_000), found
    # Not shuffled: first all of web, then code.
    np.arange(1_000, dtype=np.uint32).tofile(tmp_path / "global_indices.npy")
    status, found = verify(plan, tmp_path / "state.json", "--order", tmp_path / "global_indices.npy")
    assert status == 1
    assert found["sources"][0]["executed"] == 1.0


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "step,source,tokens\n1,c4,5\n", "'c4' is no source of the plan, which has web, code, books"),
        ("a.csv", "step,loss\n1,3\n", "has no column of tokens for the plan's sources"),
        ("a.csv", "step,source,loss\n1,web,5\n", "has the column 'source', and none of tokens"),
        ("a.csv", "step,web,code,books\n1,5,3,2\n2,6,4,3\n3,7,5,4\n", "give --cumulative if they are"),
        ("a.csv", "step,source,tokens\n", "counts no token of any source"),
        ("a.jsonl", "{not json\n", "is not a table"),
        ("a.json", "{}", "is no log that is known"),
        ("a.json", "{", "is not JSON"),
        ("a.csv", "step,tokens_seen/web,tokens_seen/code\n1,5,3\n2,4,3\n", "the totals of a source fall"),
        ("a.csv", "step,source,tokens\none,web,5\n", "does not hold what such a log does"),
        ("a.csv", "step,source,tokens\n1,web,five\n", "does not hold what such a log does"),
        ("a.json", '{"dataset": {"0": {"num_samples_yielded": "x"}}}', "says no block size"),
        ("a.csv", "step,tokens/web,tokens/code,tokens/c4\n1,5,3,1\n", "'c4' is no source of the plan"),
    ],
)
def test_a_log_that_cannot_be_read_is_refused_with_the_remedy(plan, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    status, output = verify(plan, tmp_path / name)
    assert status == 1
    assert f"error: {tmp_path / name}" in output.replace("\n", "")
    assert said in output
    assert "remedy: " in output


def test_names_of_the_log_may_be_given(plan, tmp_path):
    (tmp_path / "a.csv").write_text("step,source,tokens\n1,c4,50\n1,stack,30\n1,pg19,20\n")
    words = ["--name", "c4=web", "--name", "stack=code", "--name", "pg19=books"]
    assert verify(plan, tmp_path / "a.csv", *words)[0] == 0
    status, said = verify(plan, tmp_path / "a.csv", "--name", "c4")
    assert status == 1
    assert "NAME=DOMAIN" in said
    assert verify(tmp_path / "none.json", tmp_path / "a.csv")[0] == 1


def test_without_a_plan_the_studys_decision_counts(decided_study, tmp_path):
    where = ["--study", str(decided_study / "tiny.yaml"), "--home", str(decided_study / "home")]
    decision = json.loads(CliRunner().invoke(app, ["audit", "--json", *where]).stdout)["record"]
    rows = [
        f"1,{domain},{round(weight * 10**5)}" for domain, weight in decision["mixture"]["weights"].items() if weight
    ]
    (tmp_path / "log.csv").write_text("\n".join(["step,source,tokens", *rows]))
    ran = CliRunner().invoke(app, ["verify-run", str(tmp_path / "log.csv"), *where])
    assert ran.exit_code == 0, ran.output
    assert decision["decision"] in ran.output
    assert "every source is as planned" in ran.output
