"""What drawing domains by quota is worth: noise of the losses between seeds, against drawing by dice as RegMix does.

    python benchmarks/quota_noise.py [--study studies/demo.yaml] [--home FOLDER] [--mixtures 8] [--seeds 6]

Trains the study's proxy on the same sampled mixtures with the same seeds twice, once with each way of drawing, and
evaluates every target on the same windows. Resumable: what is trained already is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.stage import MIXTURES, current_mixtures, sampled_mixtures
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.noise import NoiseFloor, noise_floor
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.tasks import evaluation_specs, proxy_specs, target_files
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.stages import up_to

WAYS = ("quota", "multinomial")


def specs_of(workspace: Workspace, draws: str, mixtures: int, seeds: int) -> list[ProxySpec]:
    """The proxies of one way of drawing."""
    chosen = sorted(sampled_mixtures(workspace))[:mixtures]
    study = workspace.study.proxies
    training = study.training_settings.model_copy(update={"draws": draws})
    found = proxy_specs(
        workspace,
        {key: current_mixtures(workspace)[key] for key in chosen},
        study.model_settings,
        training,
        dict.fromkeys(chosen, range(seeds)),
        "quota_noise",
        trajectory=False,
    )
    return [spec for group in found.values() for spec in group]


def measured(workspace: Workspace, specs: list[ProxySpec]) -> dict[tuple[str, int], np.ndarray]:
    """(mixture, seed) -> losses on every target, (T,)."""
    progress = Progress("proxies", len(specs), workspace.say)
    for result in LocalExecutor(workspace.workers).run(specs):
        if result.error:
            raise result.error
        progress.advance()
    targets = list(target_files(workspace))
    losses = {spec.id: np.full(len(targets), np.nan) for spec in specs}
    for result in LocalExecutor(workspace.workers).run(
        evaluation_specs(workspace, specs, target_files(workspace), workspace.study.proxies.evaluation)
    ):
        if result.error:
            raise result.error
        losses[result.value["proxy"]][targets.index(result.value["target"])] = result.value["loss"]
    return {(spec.exact_mixture.id, spec.seed): losses[spec.id] for spec in specs}


def report(workspace: Workspace, floors: dict[str, NoiseFloor]) -> None:
    """The table: noise that blurs ranks, shifts common to all mixtures, and what each way leaves."""
    quota, dice = (floors[way] for way in WAYS)
    print(f"\n{quota.mixtures} mixtures x {quota.seeds} seeds, standard deviations in millinats per token\n")
    print(f"{'target':<26}{'quota':>8}{'dice':>8}{'shift':>8}{'dice²/quota²':>14}{'RegMix²/ours²':>15}{'S/N':>7}")
    ratios = []
    for j, target in enumerate(workspace.targets):
        # RegMix starts every proxy from its own weights and order: shifts do not cancel between its mixtures.
        own_way = dice.noise[j] ** 2 + dice.shift[j] ** 2
        ratio = np.array([dice.noise[j] ** 2, own_way]) / quota.noise[j] ** 2
        ratios.append(ratio)
        print(
            f"{target:<26}{1e3 * quota.noise[j]:>8.1f}{1e3 * dice.noise[j]:>8.1f}{1e3 * dice.shift[j]:>8.1f}"
            f"{ratio[0]:>14.2f}{ratio[1]:>15.2f}{quota.signal_to_noise[j]:>7.1f}"
        )
    mean = np.exp(np.mean(np.log(np.maximum(ratios, 1e-9)), axis=0))
    print(f"{'geometric mean':<50}{mean[0]:>14.2f}{mean[1]:>15.2f}")
    degrees = quota.degrees_of_freedom
    print(f"\nEach variance has {degrees} degrees of freedom; {len(workspace.targets)} targets share the proxies.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("studies/demo.yaml"))
    parser.add_argument("--home", type=Path, default=Path(".regmix/quota_noise"))
    parser.add_argument("--mixtures", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=6)
    arguments = parser.parse_args()
    workspace = Workspace(arguments.study, arguments.home)
    for stage in up_to(MIXTURES):
        list(workspace.materialise(stage))
    floors = {}
    for way in WAYS:
        floor = noise_floor(measured(workspace, specs_of(workspace, way, arguments.mixtures, arguments.seeds)))
        assert floor is not None, "give two mixtures and two seeds at least"
        floors[way] = floor
    report(workspace, floors)


if __name__ == "__main__":
    main()
