"""To and from PyTorch's modules: recurrent layers, multi-head attention, Transformer layers.

    params = pytorch.lstm.read(module.state_dict())                                 -> for recurrent.layers
    module.load_state_dict({k: torch.from_numpy(w) for k, w in pytorch.lstm.write(params).items()})

PyTorch's matrices are (out, in), ours (in, out). The gates stand in one order, i f g o and r z n. Of its two biases ours
is the sum, but for the candidate of the GRU, whose second bias the reset gate meets: there both stay; written back, the
sum is the first and the second is 0. The heads of attention are axes of ours and rows of theirs.
"""

from typing import NamedTuple

import numpy as np

from minattn.weights import names
from minattn.weights.names import (
    PARTS,
    Entry,
    into_heads,
    matrix,
    norm,
    out_of_heads,
    same,
    three_biases,
    three_matrices,
    whole_heads,
)

SIDES = {"forward": "", "backward": "_reverse"}
ACTIVATIONS = "relu", "gelu"


class Recurrent(NamedTuple):
    """nn.RNN, nn.LSTM or nn.GRU of any number of layers, in one or two directions <-> parameters of `layers`.

    Of one layer they are params["0"]. Bind the cell: bind(layers, cell=gru), or cell=bind(bidirectional, cell=gru).
    """

    title: str
    gates: int
    two_biases: bool = False

    def read(self, state):
        """module.state_dict() -> {"0": cell or {"forward", "backward"}, "1": ...}. bias=False becomes a bias of 0.

        ValueError for proj_size, which no cell here has, and for keys that do not fit.
        """
        state = names.arrays(state)
        if projected := [name for name in state if name.startswith("weight_hr")]:
            raise ValueError(f"{projected[0]} comes from proj_size, a projection of the state that no cell here has")
        both = any(name.endswith("_reverse") for name in state)
        L = names.layers(state, r"weight_ih_l(\d+)")
        for l in range(L):
            state |= self._zeros(state, f"_l{l}", SIDES.values() if both else [""])
        return names.read(self._entries(max(L, 1), both), state, {}, self.title)

    def write(self, params):
        """params of `layers` -> a state dict of arrays."""
        both = "forward" in params.get("0", {})
        return names.write(self._entries(len(params), both), params, self.title)

    def _zeros(self, state, layer, suffixes):
        """The biases of a module made with bias=False."""
        found = {}
        for suffix in suffixes:
            W = state.get(f"weight_ih{layer}{suffix}")
            if W is not None and W.ndim == 2 and not any(f"bias_{x}h{layer}{suffix}" in state for x in "ih"):
                found |= {f"bias_{x}h{layer}{suffix}": np.zeros_like(W, shape=len(W)) for x in "ih"}
        return found

    def _entries(self, L, both):
        for l in range(L):
            for side, suffix in SIDES.items() if both else [("", "")]:
                place = f"{l}.{side}." if both else f"{l}."
                gates, end, width = f"{self.gates}N", f"_l{l}{suffix}", "I" if l == 0 else "2N" if both else "N"
                yield matrix(f"weight_ih{end}", f"{gates} {width}", f"{place}W_input")
                yield matrix(f"weight_hh{end}", f"{gates} N", f"{place}W_hidden")
                if self.two_biases:
                    yield same(f"bias_ih{end}", gates, f"{place}b")
                    yield same(f"bias_hh{end}", gates, f"{place}b_hidden")
                else:
                    both_biases = {f"bias_ih{end}": gates, f"bias_hh{end}": gates}
                    yield Entry(
                        both_biases, (f"{place}b",), lambda sizes, b, c: (b + c,), lambda b: (b, np.zeros_like(b))
                    )


class Attention(NamedTuple):
    """nn.MultiheadAttention <-> parameters of `multihead`: packed or, where keys have a width of their own, separate."""

    title: str = "nn.MultiheadAttention"

    def read(self, state, *, H):
        """module.state_dict() and its num_heads -> params. ValueError for add_bias_kv, and for keys that do not fit."""
        state = names.arrays(state)
        if extra := [name for name in state if name in ("bias_k", "bias_v")]:
            raise ValueError(
                f"{extra[0]} comes from add_bias_kv, a key that is always there; no attention here has one"
            )
        whole_heads(state.get("out_proj.weight"), H)
        return names.read(self.entries("q_proj_weight" in state), state, {"H": H}, self.title)

    def write(self, params, *, separate=False):
        """params of `multihead` -> a state dict of arrays; separate: as a module with a kdim or vdim of its own has."""
        return names.write(self.entries(separate), params, self.title)

    def entries(self, separate, theirs="", ours=""):
        if separate:
            for name, axis in zip(PARTS, "MPU", strict=True):
                yield into_heads(f"{theirs}{name[0]}_proj_weight", f"M {axis}", f"{ours}W_{name}")
        else:
            yield three_matrices(f"{theirs}in_proj_weight", ours, across=False)
        yield three_biases(f"{theirs}in_proj_bias", ours, optional=True)
        yield out_of_heads(f"{theirs}out_proj.weight", "M M", f"{ours}W_out")
        yield same(f"{theirs}out_proj.bias", "M", f"{ours}b_out", optional=True)


class Layer(NamedTuple):
    """nn.TransformerEncoderLayer or nn.TransformerDecoderLayer <-> parameters of `block`."""

    title: str
    cross: bool

    def read(self, state, *, H, norm_first=False, activation="relu"):
        """module.state_dict(), and what it does not hold, by PyTorch's defaults -> params, settings for block.forward.

            out, cache = block.forward(params, x, **settings)

        Theirs with layer_norm_eps=1e-5, which is the default on both sides.
        """
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, as PyTorch's is, but is {activation!r}"
            )
        state = names.arrays(state)
        whole_heads(state.get("self_attn.out_proj.weight"), H)
        params = names.read(self.entries(), state, {"H": H}, self.title)
        return params, {"norm_first": norm_first, "activation": activation}

    def write(self, params):
        """params of `block` -> a state dict of arrays; norm_first and activation are to be given to the module."""
        return names.write(self.entries(), params, self.title)

    def entries(self, theirs="", ours=""):
        norms = ("norm_look", "norm_recall", "norm_feed") if self.cross else ("norm_look", "norm_feed")
        yield from multihead.entries(False, f"{theirs}self_attn.", f"{ours}look.")
        if self.cross:
            yield from multihead.entries(False, f"{theirs}multihead_attn.", f"{ours}recall.")
        for i, name in enumerate(norms, 1):
            yield from norm(f"{theirs}norm{i}", f"{ours}{name}")
        for i, (end, axes, width) in enumerate((("in", "F M", "F"), ("out", "M F", "M")), 1):
            yield matrix(f"{theirs}linear{i}.weight", axes, f"{ours}feed.W_{end}")
            yield same(f"{theirs}linear{i}.bias", width, f"{ours}feed.b_{end}")


rnn, lstm, gru = Recurrent("nn.RNN", 1), Recurrent("nn.LSTM", 4), Recurrent("nn.GRU", 3, two_biases=True)
multihead = Attention()
encoder_layer = Layer("nn.TransformerEncoderLayer", cross=False)
decoder_layer = Layer("nn.TransformerDecoderLayer", cross=True)
