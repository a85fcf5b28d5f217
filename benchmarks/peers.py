# ruff: noqa: TID253
"""Transformers' Llama and litgpt's GPT with the plain training loop that each one's users write, for comparison.

Both take a proxy's weights, so that all three compute the same function. Rotary positions differ in the order of a
head's dimensions only: ours turns neighbours, theirs turns dimension i with i + h/2.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from regmix_pipeline.proxies.device import autocast
from regmix_pipeline.proxies.model import Decoder
from regmix_pipeline.proxies.training_loop import TrainingLoop

SAME_PASSES = 2048
"""Tokens per pass of `TrainingLoop` on a CPU, and of litgpt's default micro-batch, 4 windows, at a context of 512."""


class Peer:
    """A model of another library in training on the same windows as a `TrainingLoop`; `step` as there.

    Gradients are accumulated over passes of ``tokens_per_pass``, clipped by `clip_grad_norm_` and applied by
    `torch.optim.AdamW(fused=True)`.
    """

    def __init__(self, data: TrainingLoop, tokens_per_pass: int = SAME_PASSES) -> None:
        spec = data.spec
        self.settings, self.vocabulary, self.training, self.data = spec.model, spec.vocabulary, spec.training, data
        self.model = self._built()
        self.device = data.device
        weights = {name: weight.cpu() for name, weight in self._weights(data.model).items()}
        self.model.load_state_dict(weights, strict=True)
        self.model.to(self.device)
        self.call = torch.compile(self.model) if self.device.type == "cuda" else self.model
        training = self.training
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=training.learning_rate,
            betas=(training.beta1, training.beta2),
            eps=training.adam_eps,
            weight_decay=training.weight_decay,
            fused=True,
        )
        self.passes = -(-training.windows_per_step * self.settings.context // tokens_per_pass)
        self.taken = 0

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Loss of the next step's windows and the norm of its gradient, which is clipped; scalars."""
        windows = self.training.windows_per_step
        rows = torch.from_numpy(self.data.windows.read(self.taken * windows, windows)).to(self.device)
        self.optimiser.zero_grad()
        total = torch.zeros((), device=self.device)
        for part in rows.chunk(self.passes):
            with autocast(self.device):
                loss = self._loss(part[:, :-1].contiguous(), part[:, 1:].contiguous()) / self.passes
            loss.backward()
            total += loss.detach()
        return total, torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip)

    def step(self) -> None:
        """One optimiser step."""
        self.gradients()
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate_at(self.taken, self.data.steps)
        self.optimiser.step()
        self.taken += 1

    def _built(self) -> Any:
        raise NotImplementedError

    def _weights(self, model: Decoder) -> dict[str, Tensor]:
        raise NotImplementedError

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError

    def _halves(self, weight: Tensor) -> Tensor:
        """Rows of a query or key matrix, each head's even dimensions first."""
        heads = weight.view(self.settings.heads, -1, 2, weight.shape[1])
        return heads.transpose(1, 2).reshape(weight.shape)

    def _query_key_value(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = weight.chunk(3)
        return self._halves(query), self._halves(key), value


class Transformers(Peer):
    """`LlamaForCausalLM` with SDPA and its own loss."""

    def _built(self) -> Any:
        library = importlib.import_module("transformers")
        settings = self.settings
        config = library.LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=settings.width,
            intermediate_size=settings.ffn_width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.heads,
            max_position_embeddings=settings.context,
            rms_norm_eps=settings.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": settings.rope_theta},
            tie_word_embeddings=False,
            use_cache=False,
            attn_implementation="sdpa",
        )
        return library.LlamaForCausalLM(config)

    def _weights(self, model: Decoder) -> dict[str, Tensor]:
        own = model.state_dict()
        named = {
            "model.embed_tokens.weight": own["embedding.weight"],
            "model.norm.weight": own["norm.weight"],
            "lm_head.weight": own["head"],
        }
        for layer in range(self.settings.layers):
            here, there = f"blocks.{layer}.", f"model.layers.{layer}."
            query, key, value = self._query_key_value(own[here + "query_key_value.weight"])
            gate, up = own[here + "gate_up.weight"].chunk(2)
            named |= {
                there + "input_layernorm.weight": own[here + "attention_norm.weight"],
                there + "self_attn.q_proj.weight": query,
                there + "self_attn.k_proj.weight": key,
                there + "self_attn.v_proj.weight": value,
                there + "self_attn.o_proj.weight": own[here + "attention_out.weight"],
                there + "post_attention_layernorm.weight": own[here + "ffn_norm.weight"],
                there + "mlp.gate_proj.weight": gate,
                there + "mlp.up_proj.weight": up,
                there + "mlp.down_proj.weight": own[here + "down.weight"],
            }
        return named

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return self.call(input_ids=inputs, labels=labels, shift_labels=labels).loss


class LitGPT(Peer):
    """litgpt's `GPT` with the loss of its pre-training loop, `chunked_cross_entropy`."""

    def _built(self) -> Any:
        library = importlib.import_module("litgpt")
        self._cross_entropy = importlib.import_module("litgpt.utils").chunked_cross_entropy
        settings = self.settings
        config = library.Config(
            name="proxy",
            block_size=settings.context,
            vocab_size=self.vocabulary,
            padded_vocab_size=self.vocabulary,
            n_layer=settings.layers,
            n_embd=settings.width,
            n_head=settings.heads,
            rotary_percentage=1.0,
            rope_base=settings.rope_theta,
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            norm_eps=settings.norm_eps,
            mlp_class_name="LLaMAMLP",
            intermediate_size=settings.ffn_width,
        )
        return library.GPT(config)

    def _weights(self, model: Decoder) -> dict[str, Tensor]:
        own = model.state_dict()
        named = {
            "transformer.wte.weight": own["embedding.weight"],
            "transformer.ln_f.weight": own["norm.weight"],
            "lm_head.weight": own["head"],
        }
        for layer in range(self.settings.layers):
            here, there = f"blocks.{layer}.", f"transformer.h.{layer}."
            gate, up = own[here + "gate_up.weight"].chunk(2)
            named |= {
                there + "norm_1.weight": own[here + "attention_norm.weight"],
                there + "attn.qkv.weight": torch.cat(self._query_key_value(own[here + "query_key_value.weight"])),
                there + "attn.proj.weight": own[here + "attention_out.weight"],
                there + "norm_2.weight": own[here + "ffn_norm.weight"],
                there + "mlp.fc_1.weight": gate,
                there + "mlp.fc_2.weight": up,
                there + "mlp.proj.weight": own[here + "down.weight"],
            }
        return named

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return self._cross_entropy(self.call(inputs), labels)
