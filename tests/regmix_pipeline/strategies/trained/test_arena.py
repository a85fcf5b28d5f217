"""The arena that trains: shared runs, the account, and sessions that are the constant run while nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import ProxyError, StudyError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.strategies.trained.arena import TrainedArena
from regmix_pipeline.tokens.stage import DOMAIN_INVENTORY, TOKEN_SHARDS, TOKENIZER

MIXTURE = Mixture.of({"code": 500_000, "licences": 300_000, "descriptions": 200_000})


@pytest.fixture(scope="module")
def study(real_text, tiny_settings, small_proxy, tmp_path_factory):
    """A tiny study whose shards are made; nothing is trained yet."""
    folder = tmp_path_factory.mktemp("arena")
    (folder / "text").symlink_to(real_text)
    strategies = {"names": ["natural"], "budget_proxies": 4, "seeds": 2, "small_proxy": small_proxy}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_settings | {"strategies": strategies}, sort_keys=False))
    workspace = Workspace(folder / "tiny.yaml", folder / "home", workers=1, say=lambda line: None)
    for stage in (DOMAINS, DOCUMENTS, TOKENIZER, TOKEN_SHARDS, DOMAIN_INVENTORY):
        assert all(made.error is None for made in workspace.materialise(stage))
        workspace.join()
    return workspace


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def vector(arena: TrainedArena, mixture: Mixture) -> np.ndarray:
    return mixture.vector(arena.domains)


def test_the_arena_says_what_there_is(study):
    arena = TrainedArena(study)
    assert arena.domains == ("code", "licences", "descriptions")
    assert arena.targets == ("science", "code")
    assert arena.objective == {"science": 1.0}
    assert arena.small_proxy.flops < arena.proxy.flops < arena.target.flops
    assert arena.proxy.steps == 32
    assert arena.epochs is not None
    # Epochs of the target run at weight 1 are what the caps allow, at the most.
    assert (arena.limits.caps * arena.epochs <= 4 + 1e-5).all()


def test_runs_are_shared_and_everybody_pays(study):
    first, second = TrainedArena(study), TrainedArena(study)
    run, same = first.train([MIXTURE, MIXTURE], first.proxy)
    assert run.losses == same.losses
    assert (first.account.runs, first.account.tokens) == (2, 2 * first.proxy.tokens)
    assert first.account.flops == 2 * first.proxy.flops
    folder = study.path("compared")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("p*/*")}
    (again,) = second.train([MIXTURE], second.proxy)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("p*/*")} == before
    assert again.losses == run.losses
    assert second.account.flops == second.proxy.flops
    assert list(run.steps) == [8, 16, 32]
    assert set(run.trajectory) == set(first.targets)
    assert run.trajectory["science"][-1] < run.trajectory["science"][0]


@pytest.mark.parametrize("size", ["proxy", "target"])
def test_a_session_of_constant_weights_is_the_constant_run_to_the_bit(study, size):
    arena = TrainedArena(study)
    (run,) = arena.train([MIXTURE], getattr(arena, size), seed=1)
    session = arena.start(getattr(arena, size), seed=1)
    for steps in (1, 10, session.size.steps - 11):
        means = session.advance(vector(arena, MIXTURE), steps)
    assert session.losses() == run.losses
    assert np.abs(session.drawn() - vector(arena, MIXTURE)).max() < 1 / (16 * 32)
    assert means.shape == (3,)
    assert np.isfinite(means).all()


def test_every_step_and_pass_is_on_the_account(study):
    arena = TrainedArena(study)
    session = arena.start(arena.proxy)
    assert (arena.account.runs, arena.account.flops) == (1, 0)
    session.advance(vector(arena, MIXTURE), 4)
    per_step = arena.proxy.tokens / arena.proxy.steps
    assert arena.account.flops == 4 * per_step * arena.proxy.flops_per_token
    session.domain_losses()
    passes = 16 * 3 * 32
    assert arena.account.flops == pytest.approx((4 * per_step + passes / 3) * arena.proxy.flops_per_token)
    assert arena.account.tokens == 4 * per_step


def test_losses_of_domains_fall_where_the_session_draws(study):
    arena = TrainedArena(study)
    session = arena.start(arena.proxy)
    before = session.domain_losses()
    means = session.advance(np.array([1.0, 0, 0]), 16)
    after = session.domain_losses()
    assert np.isfinite(means).tolist() == [True, False, False]
    assert before[0] > means[0] > after[0]
    assert before[0] - after[0] > before[1] - after[1]
    assert session.drawn().tolist() == [1, 0, 0]


def test_factors_of_the_loss_move_the_model_and_ones_do_not(study):
    arena = TrainedArena(study)
    found = {}
    for name, factors in {"none": None, "ones": np.ones(3), "code": np.array([2.5, 0.2, 0.2])}.items():
        session = arena.start(arena.proxy)
        means = session.advance(vector(arena, MIXTURE), 24, factors)
        found[name] = session.losses()["code"]
        assert np.isfinite(means).all()
    assert found["ones"] == pytest.approx(found["none"], abs=1e-3)
    assert found["code"] < found["none"] - 0.02


def test_what_cannot_be_done_is_said(study):
    arena = TrainedArena(study)
    session = arena.start(arena.proxy)
    right = vector(arena, MIXTURE)
    for arguments, message in {
        (0,): "0 steps",
        (33,): "33 steps after 0 of 32",
    }.items():
        with pytest.raises(ProxyError, match=message):
            session.advance(right, *arguments)
    with pytest.raises(ProxyError, match=r"weights sum to 1\.3"):
        session.advance(right + 0.1, 1)
    with pytest.raises(ProxyError, match="loss weights"):
        session.advance(right, 1, -np.ones(3))
    with pytest.raises(ProxyError, match="ended after 0 of 32"):
        session.final()


def test_a_study_without_the_section_says_so(study_file):
    with pytest.raises(StudyError, match="compares no strategies"):
        TrainedArena(Workspace(study_file))
