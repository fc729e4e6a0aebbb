"""To and from PyTorch's modules: recurrent layers, multi-head attention, Transformer layers.

    params = pytorch.lstm.read(module.state_dict())                                 -> for recurrent.layers
    module.load_state_dict({k: torch.from_numpy(w) for k, w in pytorch.lstm.write(params).items()})

PyTorch's matrices are (out, in), ours (in, out). The gates stand in one order, i f g o and r z n. Of its two biases
ours is the sum; written back, that is the first, and the second is 0. Only the GRU keeps both, for in its candidate the
reset gate meets the second alone. The heads of attention are axes of ours and rows of theirs.

A state dict does not tell how many heads there are, where the norm stands, or which activation is used: say what the
module was made with. What is read is a copy. Arrays are (B, T, ...) here, as with batch_first=True, and in the masks of
nn.MultiheadAttention a True means the opposite.
"""

from typing import NamedTuple

import numpy as np

from minattn.weights import names
from minattn.weights.names import PARTS, into_heads, matrix, norm, out_of_heads, same, three_biases, three_matrices

SIDES = {"forward": "", "backward": "_reverse"}
GATES = {"nn.RNN": 1, "nn.GRU": 3, "nn.LSTM": 4}
ACTIVATIONS = "relu", "gelu"


class Recurrent(NamedTuple):
    """nn.RNN with tanh, nn.LSTM or nn.GRU of any number of layers, in one or two directions <-> those of `layers`.

    Of one layer they are params["0"]. Bind the cell: bind(layers, cell=gru), or cell=bind(bidirectional, cell=gru).
    """

    title: str
    two_biases: bool = False

    def read(self, state):
        """module.state_dict() -> {"0": cell or {"forward", "backward"}, "1": ...}. bias=False becomes a bias of 0.

        ValueError for proj_size, which no cell here has, and for keys that do not fit.
        """
        state = names.arrays(state)
        self._check(state)
        L, both = names.layers(state, r"weight_ih_l(\d{1,6})"), any(name.endswith("_reverse") for name in state)
        entries = list(self._entries(L, both))
        return names.read(entries, names.unbiased(entries, state), self.title)

    def write(self, params):
        """params of `layers` -> a state dict of arrays."""
        paths = names.paths(params)
        both = any("forward." in path for path in paths)
        return names.write(self._entries(names.layers(paths, r"(\d{1,6})\."), both), params, self.title)

    def _check(self, state):
        """No projection, and as many gates as this cell has."""
        if projected := [name for name in state if "weight_hr_l" in name]:
            raise ValueError(f"{projected[0]} comes from proj_size, a projection of the state that no cell here has")
        shape = state["weight_hh_l0"].shape if "weight_hh_l0" in state else ()
        for other, gates in GATES.items():
            if other != self.title and len(shape) == 2 and shape[0] == gates * shape[1]:
                raise ValueError(
                    f"weight_hh_l0 {shape} has {gates} N rows for N = {shape[1]}, as in {other}, but {self.title} has "
                    f"{GATES[self.title]} N"
                )

    def _entries(self, L, both):
        for l in range(L):
            for side, suffix in SIDES.items() if both else [("", "")]:
                place = f"{l}.{side}." if both else f"{l}."
                gates, end, width = f"{GATES[self.title]}N", f"_l{l}{suffix}", "I" if l == 0 else "2N" if both else "N"
                yield matrix(f"weight_ih{end}", f"{gates} {width}", f"{place}W_input")
                yield matrix(f"weight_hh{end}", f"{gates} N", f"{place}W_hidden")
                if self.two_biases:
                    yield same(f"bias_ih{end}", gates, f"{place}b")
                    yield same(f"bias_hh{end}", gates, f"{place}b_hidden")
                else:
                    yield names.summed((f"bias_ih{end}", f"bias_hh{end}"), gates, f"{place}b")


class Attention(NamedTuple):
    """nn.MultiheadAttention <-> parameters of `multihead`: one matrix, or three where keys have their own width."""

    title: str = "nn.MultiheadAttention"

    def read(self, state, *, H):
        """module.state_dict() and its num_heads -> params. ValueError for add_bias_kv, and for keys that do not fit."""
        state = names.arrays(state)
        if extra := [name for name in state if name.endswith(("bias_k", "bias_v"))]:
            raise ValueError(
                f"{extra[0]} comes from add_bias_kv, a key that is always there; no attention here has one"
            )
        separate = any(name.endswith("q_proj_weight") for name in state)
        biased = any("bias" in name for name in state)
        return names.read(self.entries(separate, biased), state, self.title, H)

    def write(self, params):
        """params of `multihead` -> a state dict of arrays, for a module with the kdim and vdim that the keys have."""
        biased = any(path.startswith("b_") for path in names.paths(params))
        widths = {np.shape(params[f"W_{part}"])[:1] for part in PARTS if f"W_{part}" in params}
        return names.write(self.entries(len(widths) > 1, biased), params, self.title)

    def entries(self, separate=False, biased=True, theirs="", ours=""):
        if separate:
            for name, axis in zip(PARTS, "MPU", strict=True):
                yield into_heads(f"{theirs}{name[0]}_proj_weight", f"M {axis}", f"{ours}W_{name}")
        else:
            yield three_matrices(f"{theirs}in_proj_weight", ours)
        yield out_of_heads(f"{theirs}out_proj.weight", "M M", f"{ours}W_out")
        if biased:
            yield three_biases(f"{theirs}in_proj_bias", ours)
            yield same(f"{theirs}out_proj.bias", "M", f"{ours}b_out")


class Layer(NamedTuple):
    """nn.TransformerEncoderLayer or nn.TransformerDecoderLayer <-> parameters of `block`."""

    title: str
    cross: bool

    def read(self, state, *, H, norm_first=False, activation="relu"):
        """module.state_dict(), and what it does not hold, by PyTorch's defaults -> params, settings for block.forward.

            out, cache = block.forward(params, x, **settings)

        bias=False becomes a bias of 0. Theirs with layer_norm_eps=1e-5, which is the default on both sides. ValueError
        for keys that do not fit.
        """
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, as PyTorch's is, but is {activation!r}"
            )
        state, entries = names.arrays(state), list(self._entries())
        params = names.read(entries, names.unbiased(entries, state), self.title, H)
        return params, {"norm_first": norm_first, "activation": activation}

    def write(self, params):
        """params of `block` -> a state dict of arrays; norm_first and activation are to be given to the module."""
        return names.write(self._entries(), params, self.title)

    def _entries(self):
        norms = ("norm_look", "norm_recall", "norm_feed") if self.cross else ("norm_look", "norm_feed")
        yield from multihead.entries(theirs="self_attn.", ours="look.")
        if self.cross:
            yield from multihead.entries(theirs="multihead_attn.", ours="recall.")
        for i, name in enumerate(norms, 1):
            yield from norm(f"norm{i}", name)
        for i, (end, axes, width) in enumerate((("in", "F M", "F"), ("out", "M F", "M")), 1):
            yield matrix(f"linear{i}.weight", axes, f"feed.W_{end}")
            yield same(f"linear{i}.bias", width, f"feed.b_{end}")


rnn, lstm, gru = Recurrent("nn.RNN"), Recurrent("nn.LSTM"), Recurrent("nn.GRU", two_biases=True)
multihead = Attention()
encoder_layer = Layer("nn.TransformerEncoderLayer", cross=False)
decoder_layer = Layer("nn.TransformerDecoderLayer", cross=True)
