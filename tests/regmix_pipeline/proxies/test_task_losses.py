# ruff: noqa: TID253
"""Bits per byte of continuations given their prompts, against log-softmax item by item."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from regmix_pipeline.errors import ProxyError, TokenError
from regmix_pipeline.proxies.continuations import continuation_losses, windowed
from regmix_pipeline.proxies.evaluate import losses_on, sample_of, sample_on_the_way
from regmix_pipeline.proxies.model import Decoder, initialise
from regmix_pipeline.proxies.spec import TASK, EvaluationSpec, TargetFile
from regmix_pipeline.proxies.task_losses import TaskSample
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.proxies import EvaluationSettings, ModelSettings
from regmix_pipeline.study.settings.tokens import ShardSettings
from regmix_pipeline.tokens.shards import make_shard, shard_folder, verify_shard
from regmix_pipeline.tokens.task_items import FILE, read_items
from regmix_pipeline.tokens.tokenizer import checked

EOS = "<|endoftext|>"
CONTEXT = 24
ITEMS = [
    {"prompt": "the capital of the land is", "choices": [" here", " there and there", " nowhere"], "gold": 1},
    {"prompt": "the answer is ", "continuation": "the land"},
    {"prompt": "", "continuation": "the capital"},
    {"prompt": "a prompt that is far too long for the window " * 4, "continuation": " and its end"},
    {"prompt": "short", "continuation": " a continuation that alone is longer than the window of the model " * 3},
    {"prompt": "caf", "continuation": "é au lait"},
    {"prompt": "yes or no?", "choices": [" yes", " no"], "gold": 0},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([item["prompt"] + str(item.get("continuation", "")) for item in ITEMS], trainer)
    made.save(str(path))
    return checked(path, EOS)


@pytest.fixture(scope="module")
def model(tokenizer):
    made = Decoder(ModelSettings(context=CONTEXT, layers=1, width=16, heads=2, ffn_width=16), tokenizer.vocab_size)
    initialise(made, 3)
    with torch.no_grad():
        made.head.mul_(8)
    return made.eval()


@pytest.fixture
def task(tmp_path, tokenizer):
    """``task(items)``: the target file of a shard that was made of them, and its manifest."""

    def made(items=ITEMS):
        (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        source = Source(task="items.jsonl")
        shards, settings = tmp_path / "shards", ShardSettings(min_tokens=1000)
        manifest = make_shard("arc", source, tmp_path, tmp_path, tokenizer, shards, settings, "target", say=str)
        verify_shard(shard_folder(shards, "arc", manifest.version))
        held = manifest.items
        path = shard_folder(shards, "arc", manifest.version) / held.file
        numbers = {"dtype": "uint32", "tokens": held.numbers, "sha256": held.sha256, "bytes": held.bytes}
        return TargetFile(path=path, version=manifest.version, kind=TASK, **numbers), manifest

    return made


def bits(model, tokenizer, prompt, continuation):
    """Bits per byte of a continuation, one token after the other, by the rules the documentation states."""
    encoding = Tokenizer.from_file(str(tokenizer.path)).encode(prompt + continuation)
    first = next(n for n, (_, end) in enumerate(encoding.offsets) if end > len(prompt))
    ids = [tokenizer.eos_id, *encoding.ids]
    asked = len(encoding.ids) - first
    kept = min(asked, CONTEXT)
    ids = ids[: len(ids) - (asked - kept)][-(CONTEXT + 1) :]
    with torch.no_grad():
        logs = torch.log_softmax((model(torch.tensor([ids[:-1]])) @ model.head.t()).double(), -1)
    nats = -sum(float(logs[len(ids) - 1 - kept + n, ids[len(ids) - kept + n]]) for n in range(kept))
    return nats / math.log(2) / (len(continuation.encode()) * kept / asked)


def of(item):
    choices = item.get("choices")
    return (item["prompt"], choices[item["gold"]] if choices else item["continuation"])


def test_the_mean_of_items_bits_per_byte_with_its_error_and_accuracy(task, model, tokenizer):
    file, manifest = task()
    loss = losses_on(model, [sample_of("arc", file, CONTEXT, EvaluationSettings())])["arc"]
    expected = [bits(model, tokenizer, *of(item)) for item in ITEMS]
    assert loss.bits_per_byte == pytest.approx(np.mean(expected), rel=1e-5)
    assert loss.bits_per_byte_standard_error == pytest.approx(np.std(expected, ddof=1) / math.sqrt(7), rel=1e-4)
    # The same number in another unit, a constant of task and tokenizer.
    unit = math.log(2) * manifest.items.bytes / manifest.items.tokens
    assert loss.loss == pytest.approx(loss.bits_per_byte * unit)
    assert loss.standard_error == pytest.approx(loss.bits_per_byte_standard_error * unit)
    right = []
    for item in (ITEMS[0], ITEMS[6]):
        scores = [bits(model, tokenizer, item["prompt"], choice) for choice in item["choices"]]
        right.append(int(np.argmin(scores)) == item["gold"])
    assert loss.accuracy == pytest.approx(np.mean(right))
    assert manifest.items.with_choices == 2


def test_a_token_across_the_boundary_counts_with_the_continuation(task):
    file, manifest = task()
    items = read_items(file.path)
    # "the answer is " + "the land": the space goes into one token with the word behind it.
    assert manifest.items.spanning == 1
    assert [item.right.bytes for item in items[1:3]] == [8, 11]
    assert items[2].right.asked == len(items[2].right.tokens) - 1


def test_along_the_way_fewer_items_and_no_choices(task, model):
    file, _ = task([{"prompt": f"number {n} is", "choices": [f" {n}", " none"], "gold": 0} for n in range(200)])
    few = EvaluationSettings(trajectory_windows=2)
    sample = sample_on_the_way("arc", file, CONTEXT, few)
    assert len(sample.items) == 32
    assert sample.measure(model).accuracy is None
    assert len(sample_of("arc", file, CONTEXT, EvaluationSettings(items=50)).items) == 50
    assert sample_of("arc", file, CONTEXT, few).measure(model).accuracy is not None


def test_another_number_of_items_is_another_evaluation_and_windows_are_not(task, tmp_path):
    file, _ = task()

    def evaluation(**settings):
        asked = EvaluationSettings(**settings)
        return EvaluationSpec(proxy=tmp_path / "p1", target="arc", tokens=file, evaluation=asked, folder=tmp_path).id

    assert evaluation() == evaluation(windows=9) != evaluation(items=5)


def test_damage_and_too_few_items_are_named(task, tmp_path):
    file, _ = task()
    with pytest.raises(TokenError, match="one item has no standard error"):
        task(ITEMS[:1])
    assert not list((tmp_path / "shards").glob("*/.*"))
    numbers = np.fromfile(file.path, dtype="<u4")
    numbers[5] += 1
    numbers.tofile(file.path)
    with pytest.raises(TokenError, match="altered"):
        TaskSample("arc", file)
    numbers[:-3].tofile(file.path)
    with pytest.raises(TokenError, match="bytes, not"):
        TaskSample("arc", file)
    with pytest.raises(TokenError, match="not whole"):
        read_items(file.path)
    assert file.path.name == FILE


def test_a_token_outside_the_vocabulary_is_refused(model):
    with pytest.raises(ProxyError, match="outside the vocabulary"):
        continuation_losses(model, [([1, 9999], 1)])


@settings(max_examples=60)
@given(length=st.integers(2, 40), window=st.integers(1, 20), data=st.data())
def test_a_window_keeps_the_end_of_the_prompt_and_the_beginning_of_the_continuation(length, window, data):
    asked = data.draw(st.integers(1, length - 1))
    tokens, kept = windowed((list(range(length)), asked), window)
    assert kept == min(asked, window)
    assert len(tokens) <= window + 1
    assert len(tokens) > kept
    assert tokens[len(tokens) - kept] == length - asked
    assert (np.diff(tokens) == 1).all()
