"""The strategies by name. A constructor takes the strategy's options; all have their published values as defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from regmix_pipeline.strategies.arena import Strategy
from regmix_pipeline.strategies.methods.bimix import BiMix
from regmix_pipeline.strategies.methods.climb import Climb
from regmix_pipeline.strategies.methods.doremi import DoReMi
from regmix_pipeline.strategies.methods.mixing_laws import DataMixingLaws
from regmix_pipeline.strategies.methods.odm import OnlineDataMixing
from regmix_pipeline.strategies.methods.ours import Ours
from regmix_pipeline.strategies.methods.reference import Human, Natural, Uniform
from regmix_pipeline.strategies.methods.regmix import RegMix
from regmix_pipeline.strategies.methods.regmix_d import RegMixD

STRATEGIES: Mapping[str, Callable[..., Strategy]] = {
    "natural": Natural,
    "uniform": Uniform,
    "human": Human,
    "regmix": RegMix,
    "ours": Ours,
    "data_mixing_laws": DataMixingLaws,
    "bimix": BiMix,
    "climb": Climb,
    "doremi": DoReMi,
    "odm": OnlineDataMixing,
    "regmix_d": RegMixD,
}
"""Name -> constructor."""
