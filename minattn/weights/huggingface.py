"""To and from the names of Hugging Face Transformers: BERT <-> `minilm`, GPT-2 <-> `language_model`.

    params = huggingface.bert.read(load_arrays("model.safetensors"), H=12)
    params, settings = huggingface.gpt2.read(model.state_dict(), H=12)

BERT's matrices are (out, in). GPT-2's are (in, out), and query, key and value stand side by side in one of them. How
many heads there are stands in the model's config alone. What is read is a copy.
"""

from typing import NamedTuple

import numpy as np

from minattn.weights import names
from minattn.weights.names import (
    PARTS,
    bias_of_heads,
    into_heads,
    matrix,
    norm,
    out_of_heads,
    same,
    three_biases,
    three_matrices,
)

OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # as BERT was first published


class Bert(NamedTuple):
    """BertModel <-> parameters of `minilm`. The pooler, which only some tasks use, is left out."""

    title: str = "BertModel"
    ignored: tuple = (r"(bert\.)?pooler\..*", r"(bert\.)?embeddings\.position_ids")

    def read(self, state, *, H):
        """{name: array} and the number of heads -> params. Of a model for a task what stands under "bert." alone."""
        state = names.arrays(state, self.ignored)
        state = {name.removeprefix("bert."): x for name, x in state.items() if name.startswith("bert.")} or state
        for old, new in OLD.items():
            state = {name.replace(old, new): x for name, x in state.items()}
        L = names.layers(state, r"encoder\.layer\.(\d{1,6})\.")
        return names.read(self._entries(L), state, self.title, H)

    def write(self, params):
        """params of `minilm` -> {name: array}, for BertModel(config, add_pooling_layer=False)."""
        L = names.layers(names.paths(params), r"blocks\.(\d{1,6})\.")
        return names.write(self._entries(L), params, self.title)

    def _entries(self, L):
        yield same("embeddings.word_embeddings.weight", "V M", "embed")
        yield same("embeddings.position_embeddings.weight", "T M", "positions")
        yield same("embeddings.token_type_embeddings.weight", "K M", "types")
        yield from norm("embeddings.LayerNorm", "norm")
        for l in range(L):
            theirs, ours = f"encoder.layer.{l}.", f"blocks.{l}."
            for part in PARTS:
                yield into_heads(f"{theirs}attention.self.{part}.weight", "M M", f"{ours}look.W_{part}")
                yield bias_of_heads(f"{theirs}attention.self.{part}.bias", "M", f"{ours}look.b_{part}")
            yield out_of_heads(f"{theirs}attention.output.dense.weight", "M M", f"{ours}look.W_out")
            yield same(f"{theirs}attention.output.dense.bias", "M", f"{ours}look.b_out")
            yield from norm(f"{theirs}attention.output.LayerNorm", f"{ours}norm_look")
            yield matrix(f"{theirs}intermediate.dense.weight", "F M", f"{ours}feed.W_in")
            yield same(f"{theirs}intermediate.dense.bias", "F", f"{ours}feed.b_in")
            yield matrix(f"{theirs}output.dense.weight", "M F", f"{ours}feed.W_out")
            yield same(f"{theirs}output.dense.bias", "M", f"{ours}feed.b_out")
            yield from norm(f"{theirs}output.LayerNorm", f"{ours}norm_feed")


class Gpt2(NamedTuple):
    """GPT2Model or GPT2LMHeadModel <-> parameters of `language_model`, its output tied to the embeddings."""

    title: str = "GPT2LMHeadModel"
    ignored: tuple = (r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",)  # masks, which older versions kept

    def read(self, state, *, H):
        """{name: array} and the number of heads -> params, settings for language_model.forward.

        ValueError where lm_head is a matrix of its own, and for keys that do not fit.
        """
        state = names.arrays(state, self.ignored)
        state = {name.removeprefix("transformer."): x for name, x in state.items()}
        embed, head = state.get("wte.weight"), state.pop("lm_head.weight", None)
        if embed is not None and head is not None and not np.array_equal(embed, head):
            raise ValueError(
                "lm_head.weight has other numbers than wte.weight: in GPT-2 they are one matrix, and so they are here"
            )
        L = names.layers(state, r"h\.(\d{1,6})\.")
        return names.read(self._entries(L), state, self.title, H), {"activation": "gelu_tanh"}

    def write(self, params):
        """params of `language_model`, tied and with learned positions -> {name: array} of GPT2LMHeadModel."""
        L = names.layers(names.paths(params), r"blocks\.(\d{1,6})\.")
        state = names.write(self._entries(L), params, self.title)
        return {f"transformer.{name}": x for name, x in state.items()} | {"lm_head.weight": state["wte.weight"].copy()}

    def _entries(self, L):
        yield same("wte.weight", "V M", "embed")
        yield same("wpe.weight", "T M", "positions")
        yield from norm("ln_f", "norm")
        for l in range(L):
            theirs, ours = f"h.{l}.", f"blocks.{l}."
            yield three_matrices(f"{theirs}attn.c_attn.weight", f"{ours}look.", across=True)
            yield three_biases(f"{theirs}attn.c_attn.bias", f"{ours}look.")
            yield out_of_heads(f"{theirs}attn.c_proj.weight", "M M", f"{ours}look.W_out", across=True)
            yield same(f"{theirs}attn.c_proj.bias", "M", f"{ours}look.b_out")
            yield from norm(f"{theirs}ln_1", f"{ours}norm_look")
            yield from norm(f"{theirs}ln_2", f"{ours}norm_feed")
            for theirs_end, axes, width, end in (("c_fc", "M F", "F", "in"), ("c_proj", "F M", "M", "out")):
                yield same(f"{theirs}mlp.{theirs_end}.weight", axes, f"{ours}feed.W_{end}")
                yield same(f"{theirs}mlp.{theirs_end}.bias", width, f"{ours}feed.b_{end}")


bert, gpt2 = Bert(), Gpt2()
