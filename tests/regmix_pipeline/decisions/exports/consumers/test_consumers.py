"""Exports read by the libraries they are for: what is drawn has the shares that were decided.

`make test-consumers` runs these in an environment of their own.
"""

import importlib.util
import json
import os
import runpy
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from regmix_pipeline.executed.drift import verify_run
from regmix_pipeline.executed.log import Options
from regmix_pipeline.executed.planned import plan_in

pytestmark = pytest.mark.consumers

LENGTH = 32
"""Tokens of a sample."""

# The module's name must not be looked for where the library is not installed.
ON_GRAIN = bool(importlib.util.find_spec("torchtitan") and importlib.util.find_spec("torchtitan.components.data"))


def drawn_shares(names):
    counts = Counter(names)
    return {name: count / counts.total() for name, count in counts.items()}


def assert_shares(found, wanted, draws, errors=4.0):
    """Every share is within so many standard errors of a random draw; ``errors=0``: within one draw of it."""
    assert found.keys() == wanted.keys()
    for name, share in wanted.items():
        allowed = errors * np.sqrt(share * (1 - share) / draws) + 1 / draws
        assert abs(found[name] - share) <= allowed, f"{name}: drawn {found[name]:.4f}, decided {share:.4f}"


def test_olmo_core_builds_the_mixture_over_the_studys_own_token_files(export, decision):
    from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList
    from olmo_core.exceptions import OLMoConfigurationError

    weights, budget = decision["mixture"]["weights"], decision["limits"]["target_tokens"]
    path = export("olmo-core").files[0]

    def build(tokens):
        sources = SourceMixtureList.from_yaml(path)
        config = SourceMixtureDatasetConfig(sources, tokens, global_batch_size=8 * LENGTH, seed=42, quiet=True)
        return config.build(npdtype=np.uint16, sequence_length=LENGTH)

    drawn = {source.name: sum(path.tokens for path in source.path_tokens) for source in build(budget).sources}
    total = sum(drawn.values())
    assert budget <= total < budget + 8 * LENGTH
    # Every reading of a file is rounded to whole sequences.
    assert {name: tokens / total for name, tokens in drawn.items()} == pytest.approx(weights, abs=20 * LENGTH / budget)
    with pytest.raises(OLMoConfigurationError, match="Insufficient tokens"):
        build(budget * 100)


def olmo_core_dataset(path, folder):
    """The samples that OLMo-core draws for 40,000 tokens of an exported mixture."""
    from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig
    from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList

    sources = SourceMixtureList.from_yaml(path)
    dataset = NumpyFSLDatasetConfig(
        source_mixture_config=SourceMixtureDatasetConfig(sources, 40_000, global_batch_size=8 * LENGTH, quiet=True),
        sequence_length=LENGTH,
        tokenizer=TokenizerConfig(vocab_size=512, eos_token_id=0, pad_token_id=0),
        work_dir=str(folder),
    ).build()
    dataset.prepare()
    return dataset


def test_olmo_core_reads_the_tokens_that_the_study_wrote(export, decision, tmp_path):
    path = export("olmo-core").files[0]
    dataset = olmo_core_dataset(path, tmp_path / "work")
    ours = {}
    for source in yaml.safe_load(path.read_text())["sources"]:
        tokens = np.fromfile(source["paths"][0], np.uint16)
        pieces = tokens[: tokens.size // LENGTH * LENGTH].reshape(-1, LENGTH)
        ours |= {piece.tobytes(): source["source_name"] for piece in pieces}
    names = [ours[np.asarray(dataset[n]["input_ids"], np.uint16).tobytes()] for n in range(len(dataset))]
    assert_shares(drawn_shares(names), decision["mixture"]["weights"], len(names), errors=1)


def test_a_run_of_olmo_core_is_verified_by_its_state_and_order(export, tmp_path):
    from olmo_core.data import DataCollator, NumpyDataLoaderBase

    main, plan = export("olmo-core", tokens=40_000).files
    dataset = olmo_core_dataset(main, tmp_path / "work")
    loader = NumpyDataLoaderBase.wrap_numpy_dataset(
        dataset, global_batch_size=8 * LENGTH, collator=DataCollator(pad_token_id=0), work_dir=tmp_path / "work", seed=1
    )
    loader.reshuffle(epoch=1)
    for _, _batch in zip(range(100), loader, strict=False):
        pass
    (tmp_path / "state.json").write_text(json.dumps(loader.state_dict()))
    (order,) = (tmp_path / "work").rglob("global_indices*.npy")
    found = verify_run([tmp_path / "state.json"], plan_in(plan), Options(order=order))
    assert found.on_plan, found
    assert found.tokens == 100 * 8 * LENGTH


def indexed_datasets(folder, domains):
    """One of Megatron's indexed datasets per domain, every token the domain's number."""
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    for number, domain in enumerate(domains, 1):
        prefix = folder / f"{domain}_text_document"
        builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16)
        for _ in range(40):
            builder.add_document(torch.full((50,), number), [50])
        builder.finalize(f"{prefix}.idx")


def test_megatron_blends_indexed_datasets_by_the_exported_file(export, decision, tmp_path):
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.utils import get_blend_from_list

    weights = decision["mixture"]["weights"]
    indexed_datasets(tmp_path, weights)
    main, beside, plan = export("megatron", template=f"{tmp_path}/{{domain}}_text_document", tokens=2_000).files
    # As Megatron-LM reads --data-args-path.
    blend = get_blend_from_list(main.read_text().split())
    assert blend == get_blend_from_list(yaml.safe_load(beside.read_text())["data_path"])
    assert dict(zip([prefix.split("/")[-1] for prefix in blend[0]], blend[1], strict=True)) == {
        f"{domain}_text_document": weight for domain, weight in weights.items()
    }
    assert {row["available_tokens"] for row in yaml.safe_load(plan.read_text())["domains"]} == {2_000}
    config = GPTDatasetConfig(
        random_seed=42,
        sequence_length=LENGTH,
        blend=blend,
        split="1,0,0",
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        tokenizer=SimpleNamespace(eod=0, vocab_size=512, unique_identifiers={}),
    )
    samples = 1_000
    train = BlendedMegatronDatasetBuilder(GPTDataset, [samples, 0, 0], lambda: True, config).build()[0]
    domains = list(weights)
    names = [domains[int(train[n]["tokens"][0]) - 1] for n in range(samples)]
    assert_shares(drawn_shares(names), weights, samples, errors=0)


def litdata_folders(folder, domains, pieces=400):
    """One folder of litdata's token chunks per domain, every token the domain's number."""
    import torch
    from litdata.streaming import Cache, TokensLoader

    for number, domain in enumerate(domains, 1):
        (folder / domain).mkdir()
        cache = Cache(str(folder / domain), chunk_size=LENGTH * 100, item_loader=TokensLoader(LENGTH))
        for piece in range(pieces):
            cache[piece] = torch.full((LENGTH,), number, dtype=torch.int32)
        cache.done()
        cache.merge()


def test_litdata_draws_by_the_exported_weights(export, decision, tmp_path):
    weights = decision["mixture"]["weights"]
    litdata_folders(tmp_path, weights)
    written = export("litgpt", template=f"{tmp_path}/{{domain}}", tokens=5_000)
    plan = yaml.safe_load(written.files[-1].read_text())
    assert {row["available_tokens"] for row in plan["domains"]} == {400 * LENGTH}
    module = runpy.run_path(str(written.files[0]))
    domains = list(weights)
    names = [domains[int(piece[0]) - 1] for piece in module["combined"](LENGTH)]
    # It ends where the first domain does, and not before.
    assert 400 in Counter(names).values()
    assert_shares(drawn_shares(names), weights, len(names))


def test_a_run_of_litdata_is_verified_by_its_states(export, decision, tmp_path):
    from litdata import StreamingDataLoader

    weights = decision["mixture"]["weights"]
    litdata_folders(tmp_path, weights)
    main, *_, plan = export("litgpt", template=f"{tmp_path}/{{domain}}", tokens=5_000).files
    loader = StreamingDataLoader(runpy.run_path(str(main))["combined"](LENGTH), batch_size=4, num_workers=0)
    domains, drawn, states = list(weights), Counter(), []
    for number, batch in enumerate(loader, 1):
        drawn.update(domains[int(piece[0]) - 1] for piece in batch)
        if number % 50 == 0:
            states.append(tmp_path / f"state{number}.json")
            states[-1].write_text(json.dumps(loader.state_dict()))
            seen = dict(drawn)
    found = verify_run(states, plan_in(plan), Options())
    assert {each.domain: each.tokens for each in found.sources} == {name: n * LENGTH for name, n in seen.items()}
    assert found.on_plan, found


def test_litgpt_trains_on_the_exported_data_module(export, decision, tmp_path):
    from litgpt.data import DataModule

    weights = decision["mixture"]["weights"]
    litdata_folders(tmp_path, weights)
    written = export("litgpt", template=f"{tmp_path}/{{domain}}", tokens=5_000)
    module = runpy.run_path(str(written.files[0]))["Mixture"](val_path=f"{tmp_path}/code", num_workers=0)
    assert isinstance(module, DataModule)
    module.connect(batch_size=4, max_seq_length=LENGTH - 1)
    domains = list(weights)
    names = [domains[int(piece[0]) - 1] for batch in module.train_dataloader() for piece in batch]
    assert_shares(drawn_shares(names), weights, len(names))
    assert {int(token) for token in next(iter(module.val_dataloader())).unique()} == {domains.index("code") + 1}


def test_streaming_fills_an_epoch_by_the_exported_proportions(export, decision, tmp_path):
    from streaming import MDSWriter, Stream, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    weights = decision["mixture"]["weights"]
    for domain in weights:
        with MDSWriter(out=str(tmp_path / domain), columns={"domain": "str", "tokens": "bytes"}) as writer:
            for _ in range(300):
                writer.write({"domain": domain, "tokens": bytes(2 * LENGTH)})
    written = export("streaming", template=f"{tmp_path}/{{domain}}")
    streams = yaml.safe_load(written.files[0].read_text())["streams"]
    clean_stale_shared_memory()
    dataset = StreamingDataset(
        streams=[Stream(**each) for each in streams.values()], epoch_size=2_000, batch_size=8, shuffle=True
    )
    names = [sample["domain"] for sample in dataset]
    assert len(names) == 2_000
    assert_shares(drawn_shares(names), weights, len(names), errors=0)


MIXTERA = """
import json, runpy, sys
module = runpy.run_path(sys.argv[1])
chunks = (2_000, module["SMALLEST_CHUNK"])
rows = [{str(key): count for key, count in module["mixture"](size).mixture_in_rows().items()} for size in chunks]
print(json.dumps(rows))
module["mixture"](module["SMALLEST_CHUNK"] - 1)
"""


@pytest.mark.skipif(
    "MIXTERA_PYTHON" not in os.environ,
    reason="Mixtera is not on the package index and wants older polars and xxhash: name an interpreter that has it",
)
def test_mixtera_takes_the_exported_mixture(export, decision):
    path = export("mixtera").files[0]
    ran = subprocess.run([os.environ["MIXTERA_PYTHON"], "-c", MIXTERA, path], capture_output=True, text=True)
    large, least = json.loads(ran.stdout)
    wanted = {f"domain:{name}": weight for name, weight in decision["mixture"]["weights"].items()}
    assert sum(large.values()) == 2_000
    assert_shares({name: count / 2_000 for name, count in large.items()}, wanted, 2_000, errors=0)
    assert all(least.values())
    assert "round a domain away" in ran.stderr


class WordTokenizer:
    """A token a word: which word says which domain."""

    def encode(self, text, add_bos, add_eos):
        return [int(word) for word in text.split()]


def numbered_texts(folder, domains, documents=50):
    """Small JSON lines; every word of a domain is its number, and its documents are longer than those before."""
    for number, domain in enumerate(domains):
        lines = [json.dumps({"text": f"{number} " * (100 * (number + 1))}) for _ in range(documents)]
        (folder / f"{domain}.jsonl").write_text("\n".join(lines))


@pytest.mark.skipif(ON_GRAIN, reason="of torchtitan 0.3")
def test_torchtitan_interleaves_the_domains(export, decision, tmp_path):
    from torchtitan.hf_datasets.text_datasets import InterleavedHuggingFaceTextDataLoader

    weights = decision["mixture"]["weights"]
    numbered_texts(tmp_path, weights)
    main = export("torchtitan", template=f"{tmp_path}/{{domain}}.jsonl", out=tmp_path / "mixture.py").files[0]
    config = runpy.run_path(str(main))["dataloader"]()
    assert isinstance(config, InterleavedHuggingFaceTextDataLoader.Config)
    loader = InterleavedHuggingFaceTextDataLoader(
        config, dp_world_size=1, dp_rank=0, tokenizer=WordTokenizer(), seq_len=LENGTH, local_batch_size=1
    )
    names, draws = list(weights), 2_000
    drawn = [names[int(batch[0]["input"][0, 0])] for batch, _ in zip(loader, range(draws), strict=False)]
    assert_shares(drawn_shares(drawn), weights, draws)


GRAIN = """
import itertools, json, runpy, sys
from types import SimpleNamespace
from torchtitan.components.data import DatasetMixConfig, GrainDataLoader, WeightedDataset

class Tokenizer:
    def encode(self, text, add_bos, add_eos):
        return [int(word) for word in text.split()]

config = runpy.run_path(sys.argv[1])["dataloader"]()
assert isinstance(config, GrainDataLoader.Config) and isinstance(config.dataset, DatasetMixConfig)
length, draws = int(sys.argv[2]), int(sys.argv[3])
loader = GrainDataLoader(
    config, dp_world_size=1, dp_rank=0, tokenizer=Tokenizer(), max_context_length=length, num_tokens_per_batch=length
)
print(json.dumps([int(batch[0]["input"].flatten()[0]) for batch in itertools.islice(loader, draws)]))
"""


@pytest.mark.skipif(
    "TORCHTITAN_SOURCE" not in os.environ,
    reason="no release of torchtitan has the loader on Grain yet: name a checkout that has it",
)
def test_torchtitan_on_grain_mixes_packed_domains(export, decision, tmp_path):
    weights, draws = decision["mixture"]["weights"], 2_000
    numbered_texts(tmp_path, weights)
    template = f"{tmp_path}/{{domain}}.jsonl"
    main = export("torchtitan", template=template, out=tmp_path / "mixture.py", tokens=20_000).files[0]
    command = [sys.executable, "-c", GRAIN, str(main), str(LENGTH), str(draws)]
    environment = {**os.environ, "PYTHONPATH": os.environ["TORCHTITAN_SOURCE"]}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    names = list(weights)
    assert_shares(drawn_shares([names[number] for number in json.loads(ran.stdout)]), weights, draws, errors=1)


def test_energon_blends_prepared_folders(export, decision, tmp_path):
    import webdataset
    from megatron.energon import WorkerConfig, get_loader, get_train_dataset
    from megatron.energon.flavors import BaseWebdatasetFactory

    weights = decision["mixture"]["weights"]
    for domain in weights:
        (tmp_path / domain).mkdir()
        with webdataset.ShardWriter(f"{tmp_path}/{domain}/%d.tar", maxcount=100, verbose=0) as writer:
            for number in range(200):
                writer.write({"__key__": f"{domain}{number:04d}", "txt": domain})
        BaseWebdatasetFactory.prepare_dataset(
            tmp_path / domain, ["0.tar", "1.tar"], split_parts_ratio=[("train", 1.0)], progress_fn=lambda done, _: done
        )
        (tmp_path / domain / ".nv-meta" / "dataset.yaml").write_text(
            "__module__: megatron.energon\n__class__: TextWebdataset\nfield_map: {text: txt}\n"
        )
    main = export(
        "energon", template=f"{tmp_path}/{{domain}}", documents=False, out=tmp_path / "metadataset.yaml"
    ).files[0]
    workers = WorkerConfig(rank=0, world_size=1, num_workers=0)
    dataset = get_train_dataset(
        main, batch_size=1, shuffle_buffer_size=None, max_samples_per_sequence=None, worker_config=workers
    )
    draws = 2_000
    names = [batch.text[0] for batch, _ in zip(get_loader(dataset), range(draws), strict=False)]
    assert_shares(drawn_shares(names), weights, draws)


def test_nemo_automodel_blends_indexed_datasets(export, decision, tmp_path):
    from nemo_automodel.components.datasets.llm.megatron_dataset import MegatronPretraining

    weights, samples = decision["mixture"]["weights"], 1_000
    indexed_datasets(tmp_path, weights)
    template = f"{tmp_path}/{{domain}}_text_document"
    main = export("nemo", template=template, tokens=2_000, out=tmp_path / "blend.json").files[0]
    made = MegatronPretraining(
        str(main),
        seq_length=LENGTH,
        tokenizer=SimpleNamespace(eos_token_id=0, vocab_size=512, name_or_path="numbers", unique_identifiers={}),
        num_train_samples=samples,
        splits_to_build="train",
    )
    made.build()
    train, domains = made.get_dataset("train"), list(weights)
    names = [domains[int(train[n]["input_ids"][0]) - 1] for n in range(samples)]
    assert_shares(drawn_shares(names), weights, samples, errors=1)
