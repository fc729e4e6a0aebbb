"""To and from the names of Hugging Face Transformers: BERT <-> `minilm`, GPT-2 <-> `language_model`.

    params = huggingface.bert.read(load_arrays("model.safetensors"), H=12)
    params, settings = huggingface.gpt2.read(model.state_dict(), H=12)

BERT's matrices are (out, in). GPT-2's are (in, out), and query, key and value stand side by side in one of them.
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
    whole_heads,
)


class Bert(NamedTuple):
    """BertModel <-> parameters of `minilm`. The pooler, which only some tasks use, is left out."""

    title: str = "BertModel"
    ignored: tuple = (r"pooler\..*", r"embeddings\.position_ids", r"cls\..*")

    def read(self, state, *, H):
        """{name: array} and the number of heads -> params. A leading "bert." is taken off."""
        state = {name.removeprefix("bert."): x for name, x in names.arrays(state).items()}
        state = names.arrays(state, self.ignored)
        whole_heads(state.get("encoder.layer.0.attention.self.query.weight"), H)
        L = names.layers(state, r"encoder\.layer\.(\d+)\.")
        return names.read(self._entries(max(L, 1)), state, {"H": H}, self.title)

    def write(self, params):
        """params of `minilm` -> {name: array}, for BertModel(config, add_pooling_layer=False)."""
        return names.write(self._entries(len(params["blocks"])), params, self.title)

    def _entries(self, L):
        yield same("embeddings.word_embeddings.weight", "V M", "embed")
        yield same("embeddings.position_embeddings.weight", "T M", "positions")
        yield same("embeddings.token_type_embeddings.weight", "K M", "types")
        yield from norm("embeddings.LayerNorm", "norm")
        for l in range(L):
            theirs, ours = f"encoder.layer.{l}.", f"blocks.{l}."
            for part in PARTS:
                yield into_heads(f"{theirs}attention.self.{part}.weight", "HD M", f"{ours}look.W_{part}")
                yield bias_of_heads(f"{theirs}attention.self.{part}.bias", "HD", f"{ours}look.b_{part}")
            yield out_of_heads(f"{theirs}attention.output.dense.weight", "M HD", f"{ours}look.W_out")
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
    ignored: tuple = (r"lm_head\.weight", r"h\.\d+\.attn\.(bias|masked_bias)")

    def read(self, state, *, H):
        """{name: array} and the number of heads -> params, settings for language_model.forward.

        ValueError where lm_head is a matrix of its own, and for keys that do not fit.
        """
        state = {name.removeprefix("transformer."): x for name, x in names.arrays(state).items()}
        embed, head = state.get("wte.weight"), state.get("lm_head.weight")
        if embed is not None and head is not None and not np.array_equal(embed, head):
            raise ValueError("lm_head.weight is not wte.weight: GPT-2 ties the two, and so does what is made here")
        state = names.arrays(state, self.ignored)
        whole_heads(state.get("h.0.attn.c_proj.weight"), H)
        L = names.layers(state, r"h\.(\d+)\.")
        return names.read(self._entries(max(L, 1)), state, {"H": H}, self.title), {"activation": "gelu_tanh"}

    def write(self, params):
        """params of `language_model`, tied and with learned positions -> {name: array} of GPT2LMHeadModel."""
        state = names.write(self._entries(len(params["blocks"])), params, self.title)
        return {f"transformer.{name}": x for name, x in state.items()} | {"lm_head.weight": state["wte.weight"].copy()}

    def _entries(self, L):
        yield same("wte.weight", "V M", "embed")
        yield same("wpe.weight", "T M", "positions")
        yield from norm("ln_f", "norm")
        for l in range(L):
            theirs, ours = f"h.{l}.", f"blocks.{l}."
            yield three_matrices(f"{theirs}attn.c_attn.weight", f"{ours}look.", across=True)
            yield three_biases(f"{theirs}attn.c_attn.bias", f"{ours}look.")
            yield _joins_heads(f"{theirs}attn.c_proj.weight", f"{ours}look.W_out")
            yield same(f"{theirs}attn.c_proj.bias", "M", f"{ours}look.b_out")
            yield from norm(f"{theirs}ln_1", f"{ours}norm_look")
            yield from norm(f"{theirs}ln_2", f"{ours}norm_feed")
            for theirs_end, axes, width, end in (("c_fc", "M F", "F", "in"), ("c_proj", "F M", "M", "out")):
                yield same(f"{theirs}mlp.{theirs_end}.weight", axes, f"{ours}feed.W_{end}")
                yield same(f"{theirs}mlp.{theirs_end}.bias", width, f"{ours}feed.b_{end}")


def _joins_heads(theirs, ours):
    """(H E, M) <-> (H, E, M)."""
    cut = lambda sizes, W: (W.reshape(sizes["H"], -1, W.shape[1]),)  # noqa: E731
    return names.Entry({theirs: "M M"}, (ours,), cut, lambda W: (W.reshape(-1, W.shape[-1]),))


bert, gpt2 = Bert(), Gpt2()
