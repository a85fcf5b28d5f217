"""The strategies by name. A constructor takes the strategy's options; all have their published values as defaults."""

from __future__ import annotations

from regmix_pipeline.registry import Registry

STRATEGIES = Registry(
    "strategy",
    __name__,
    {
        "natural": "methods.reference:Natural",
        "uniform": "methods.reference:Uniform",
        "human": "methods.reference:Human",
        "unimax": "methods.unimax:UniMax",
        "ngrams": "methods.ngrams:Ngrams",
        "regmix": "methods.regmix:RegMix",
        "regmix_small": "methods.regmix_small:RegMixSmall",
        "ours": "methods.ours:Ours",
        "ours_one_shot": "methods.ours:OneShot",
        "ours_small": "methods.ours:Small",
        "ours_two_sizes": "methods.ours_two_sizes:SmallThenLarger",
        "ours_without_counts": "methods.ours:WithoutCounts",
        "data_mixing_laws": "methods.mixing_laws:DataMixingLaws",
        "bimix": "methods.bimix:BiMix",
        "olmix": "methods.olmix:Olmix",
        "mariner": "methods.mariner:Mariner",
        "scheffe": "methods.scheffe:Scheffe",
        "multi_fidelity": "methods.multi_fidelity:MultiFidelity",
        "climb": "methods.climb:Climb",
        "doremi": "methods.doremi:DoReMi",
        "odm": "methods.odm:OnlineDataMixing",
        "regmix_d": "methods.regmix_d:RegMixD",
    },
)
"""Name -> constructor."""
