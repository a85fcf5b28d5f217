# ruff: noqa: TID253  (imported only by the command that writes a proxy)
"""A proxy's weights in the layout of Hugging Face's Llama, and the files that `transformers` loads them from.

The proxy is a Llama but for how it is stored. Query, key and value are one matrix there, gate and up another. And its
rotary positions turn neighbouring numbers of a head, 2i and 2i + 1, where transformers turns i and i + h/2: so the rows
of query and key are put in that order, which leaves every product of a query and a key as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from regmix_pipeline.study.settings.proxies import ModelSettings

_SAME = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head": "lm_head.weight",
}
_OF_BLOCK = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention_out.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "down.weight": "mlp.down_proj.weight",
}


def llama_weights(weights: Mapping[str, Tensor], model: ModelSettings) -> dict[str, Tensor]:
    """A proxy's weights by transformers' names.

    Args:
        weights: as `model.safetensors` of the proxy holds them.
        model: the proxy's.
    """
    found = {theirs: weights[ours] for ours, theirs in _SAME.items()}
    for number in range(model.layers):
        ours, theirs = f"blocks.{number}.", f"model.layers.{number}."
        found |= {theirs + name: weights[ours + own] for own, name in _OF_BLOCK.items()}
        query, key, value = weights[ours + "query_key_value.weight"].chunk(3)
        found[theirs + "self_attn.q_proj.weight"] = in_halves(query, model.heads)
        found[theirs + "self_attn.k_proj.weight"] = in_halves(key, model.heads)
        found[theirs + "self_attn.v_proj.weight"] = value
        gate, up = weights[ours + "gate_up.weight"].chunk(2)
        found |= {theirs + "mlp.gate_proj.weight": gate, theirs + "mlp.up_proj.weight": up}
    return {name: tensor.contiguous() for name, tensor in found.items()}


def in_halves(matrix: Tensor, heads: int) -> Tensor:
    """Rows (width, d) of each head so that what were pairs 2i, 2i + 1 become i, i + h/2.

    >>> import torch
    >>> in_halves(torch.arange(8.0)[:, None], heads=2).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    pairs = matrix.view(heads, matrix.shape[0] // heads // 2, 2, matrix.shape[1])
    return pairs.transpose(1, 2).reshape(matrix.shape)


def llama_config(model: ModelSettings, vocabulary: int, eos_id: int) -> dict[str, Any]:
    """`config.json`, for transformers 4 and 5, which name the rotary base and the type of numbers differently."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": model.width,
        "intermediate_size": model.ffn_width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.heads,
        "head_dim": model.width // model.heads,
        "hidden_act": "silu",
        "max_position_embeddings": model.context,
        "rms_norm_eps": model.norm_eps,
        "rope_theta": model.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_theta},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "use_cache": True,
        "dtype": "float32",
        "torch_dtype": "float32",
    }


def tokenizer_config(model: ModelSettings, eos_token: str) -> dict[str, Any]:
    """`tokenizer_config.json`. A document begins after the end of another, so one token stands for both."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.context,
        "bos_token": eos_token,
        "eos_token": eos_token,
        "clean_up_tokenization_spaces": False,
    }
