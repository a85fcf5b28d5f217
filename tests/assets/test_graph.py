"""The asset graph as Dagster sees it: names, lineage, checks, and what loading it costs."""

import subprocess
import sys

import dagster as dg
import pytest

from regmix_pipeline.assets.names import stage_name
from regmix_pipeline.definitions import defs
from regmix_pipeline.stages import STAGES

LINEAGE = {
    "domains": [],
    "documents": [],
    "tokenizer": ["documents"],
    "token_shards": ["documents", "tokenizer"],
    "text_checks": ["documents", "domains", "token_shards", "tokenizer"],
    "domain_inventory": ["domains", "token_shards"],
    "finished_proxies": [],
    "adopted_mixtures": [],
    "mixtures": ["adopted_mixtures", "domain_inventory", "finished_proxies", "token_shards"],
    "phase_checkpoints": ["token_shards"],
    "proxy_checkpoints": ["finished_proxies", "mixtures", "phase_checkpoints", "token_shards"],
    "proxy_losses": ["finished_proxies", "mixtures", "proxy_checkpoints", "token_shards"],
    "size_runs": ["mixtures", "proxy_losses", "token_shards"],
    "imported_runs": [],
    "earlier_runs": ["finished_proxies", "mixtures", "token_shards"],
    "ngram_models": ["token_shards"],
    "regressor": [
        *("domain_inventory", "earlier_runs", "imported_runs", "mixtures", "ngram_models", "proxy_checkpoints"),
        "proxy_losses",
        "size_runs",
    ],
    "optimal_mixture": ["domain_inventory", "regressor"],
    "further_mixtures": ["domain_inventory", "mixtures", "optimal_mixture", "regressor"],
    "mixture_decision": [
        *("domain_inventory", "earlier_runs", "further_mixtures", "imported_runs", "mixtures", "optimal_mixture"),
        *("proxy_checkpoints", "proxy_losses", "regressor", "text_checks", "token_shards"),
    ],
    "confirmation": ["domain_inventory", "mixture_decision", "optimal_mixture", "token_shards"],
    "mixture_report": [
        *("confirmation", "domain_inventory", "earlier_runs", "imported_runs", "mixture_decision", "mixtures"),
        *("proxy_losses", "regressor", "text_checks"),
    ],
    "strategy_comparison": [
        *("domain_inventory", "mixture_decision", "mixtures", "ngram_models", "optimal_mixture"),
        *("proxy_checkpoints", "regressor", "token_shards"),
    ],
}
OBSERVED = ("domains", "documents", "finished_proxies", "adopted_mixtures")
BLOCKING = {
    "shards_hold_what_the_inventory_says",
    "weights_sum_to_one_within_caps",
    "executed_tokens_equal_the_mixture",
    "every_loss_is_finite",
    "optimum_respects_the_limits",
}
PARTITIONS = {
    "documents": "domain",
    "token_shards": "domain",
    "proxy_checkpoints": "mixture",
    "proxy_losses": "mixture",
}


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


def test_definitions_load():
    dg.Definitions.validate_loadable(defs)


def test_lineage_reads_like_the_method(graph):
    found = {
        stage_name(node.key): sorted(stage_name(parent) for parent in node.parent_keys) for node in graph.asset_nodes
    }
    assert found == LINEAGE


def test_every_stage_is_an_asset_with_the_same_upstream(graph):
    for stage in STAGES:
        node = graph.get(dg.AssetKey(["demo", stage.name]))
        assert sorted(stage.upstream) == sorted(map(stage_name, node.parent_keys)), stage.name
        name = node.partitions_def.name if node.partitions_def else None
        assert stage.partitions == PARTITIONS.get(stage.name)
        assert name == (f"demo/{stage.partitions}" if stage.partitions else None)
        if stage.name not in OBSERVED:
            assert node.code_version == stage.code_version


def test_every_asset_says_what_it_is(graph):
    assert [node.key for node in graph.asset_nodes if not node.description] == []


def test_checks_that_must_hold_block_what_follows(graph):
    blocking = {key.name for key in graph.asset_check_keys if graph.get_check_spec(key).blocking}
    assert blocking == BLOCKING
    assert len(graph.asset_check_keys) == len(BLOCKING) + 5 + len(STAGES)


def test_loading_the_graph_and_a_study_imports_no_heavy_library(change_study):
    study = change_study({"regression.regressors": ["linear", "lightgbm"], "strategies.names": ["natural"]})
    heavy = ["torch", "lightgbm", "datatrove", "sklearn", "scipy", "cvxpy", "plotly", "tokenizers", "ray"]
    code = (
        "import sys, regmix_pipeline.definitions; from regmix_pipeline.study.file import load_study; "
        f"load_study(sys.argv[1]); print([name for name in {heavy} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code, study], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
