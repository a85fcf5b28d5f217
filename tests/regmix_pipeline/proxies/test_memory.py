"""The formula for a worker's memory, beside the most that real workers held."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.proxies.memory import worker_memory
from regmix_pipeline.study.settings.proxies import ModelSettings

SHAPES = {
    "many tokens of vocabulary": ({"layers": 2, "width": 128, "heads": 4, "ffn_width": 256, "context": 512}, 50_432, 4),
    "many layers": ({"layers": 10, "width": 192, "heads": 6, "ffn_width": 512, "context": 256}, 4096, 8),
    "long windows": ({"layers": 3, "width": 192, "heads": 6, "ffn_width": 512, "context": 1024}, 8192, 2),
    "three as one": ({"layers": 4, "width": 192, "heads": 6, "ffn_width": 512, "context": 256}, 8192, 8),
}
STACKS = {"three as one": 3}
PEAK = """
import json, resource, sys
from pathlib import Path
from regmix_pipeline.planning.measured import _spec
from regmix_pipeline.planning.work import Work
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings
from regmix_pipeline.proxies.workers.local import LocalExecutor
shape, vocabulary, windows = json.loads(sys.argv[1])
model = ModelSettings(**shape)
training = TrainingSettings(tokens=2 * windows * model.context, windows_per_step=windows, warmup_steps=1)
work = Work("proxies", 1, model, training, vocabulary, 1, 4, 4)
spec, stack = _spec(work, ["a", "b"], Path(sys.argv[2]), 0), int(sys.argv[3])
specs = [spec.model_copy(update={"seed": seed}) for seed in range(stack)]
for result in LocalExecutor(1, stack=stack).run(specs):
    assert result.error is None, result.error
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_the_formula_is_within_a_fifth_of_a_real_workers_peak(shape, tmp_path):
    settings, vocabulary, windows = SHAPES[shape]
    stack = STACKS.get(shape, 1)
    command = [sys.executable, "-c", PEAK, json.dumps([settings, vocabulary, windows]), str(tmp_path), str(stack)]
    peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    formula = worker_memory(ModelSettings(**settings), vocabulary, windows, stack=stack).total
    assert formula == pytest.approx(peak, rel=0.2)


@given(
    st.integers(1, 12),
    st.sampled_from([32, 256, 1024]),
    st.integers(257, 100_000),
    st.integers(1, 64),
    st.sampled_from(["cpu", "cuda"]),
)
def test_more_of_anything_never_takes_less(layers, width, vocabulary, windows, kind):
    def total(layers, width, vocabulary, windows):
        model = ModelSettings(layers=layers, width=width, heads=4, ffn_width=2 * width, context=256)
        return worker_memory(model, vocabulary, windows, kind).total

    here = total(layers, width, vocabulary, windows)
    assert total(layers + 1, width, vocabulary, windows) > here
    assert total(layers, 2 * width, vocabulary, windows) > here
    assert total(layers, width, vocabulary + 1000, windows) > here
    assert total(layers, width, vocabulary, windows + 1) >= here
