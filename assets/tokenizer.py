"""The tokenizer, given or trained once."""

import dagster as dg

from assets.automation import inputs_there
from assets.events import whole_made
from assets.late import opened
from assets.upstream import upstream
from regmix_pipeline.tokens.stage import TOKENIZER
from resources.lab import LabResource


@dg.asset(
    deps=upstream(TOKENIZER),
    kinds={"python"},
    group_name="data",
    code_version=TOKENIZER.code_version,
    automation_condition=inputs_there(),
)
def tokenizer(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """The tokenizer: the study's file, or a byte-level BPE trained once on a stated sample and frozen from then on."""
    return whole_made(opened(context, lab, TOKENIZER), TOKENIZER)
