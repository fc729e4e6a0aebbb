"""Checks at the door: every error says what was expected, what came, and the likely cause."""

import functools
import math

import numpy as np

from minattn import LETTERS

ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu")


def shapes(expected, **arrays):
    """Check floating arrays against letters: {"query": "... T D"} -> sizes {"...": (B, H), "T": 5, "D": 8}.

    One letter means one size wherever it stands; the leading axes "..." broadcast. None is passed over.
    """
    given = {name: array for name, array in arrays.items() if array is not None}
    together(**given)
    for name, array in given.items():
        floating(name, array)
    return dict(_sizes(tuple([(name, expected[name], array.shape) for name, array in given.items()])))


@functools.lru_cache(maxsize=1024)
def _sizes(named):
    """((name, letters, shape), ...) -> sizes by letter: a loop comes with the same shapes again and again."""
    sizes, source = {"...": ()}, {}
    for name, letters, shape in named:
        axes = letters.split()
        free = axes[:1] == ["..."]
        axes = axes[1:] if free else axes
        leading = len(shape) - len(axes)
        if leading < 0 or (leading and not free):
            raise ValueError(
                f"{name} needs the axes ({_axes(letters)}) but came with shape {shape}"
                f"{'' if shape else ': a single number, not an array of time steps'}"
            )
        for axis, n in zip(axes, shape[leading:], strict=True):
            times, letter = int(axis[:-1] or 1), axis[-1]  # "4N" is the axis of four gates
            if n % times:
                raise ValueError(f"{name} {shape} has {n} in the axis {axis}: it must be a multiple of {times}")
            if sizes.setdefault(letter, n // times) != n // times:
                first, first_letters, first_shape = source[letter]
                raise ValueError(
                    f"{name} has {axis}={n} {LETTERS[letter]} but {first} has {letter}={sizes[letter]}: "
                    f"{name} {shape} stands for ({_axes(letters)}), {first} {first_shape} for ({_axes(first_letters)})"
                )
            source.setdefault(letter, (name, letters, shape))
        try:
            sizes["..."] = np.broadcast_shapes(sizes["..."], shape[:leading])
        except ValueError:
            raise ValueError(
                f"the leading axes {shape[:leading]} of {name} {shape} do not broadcast with {sizes['...']} of the "
                f"arrays before it: batch and head axes must be equal or 1"
            ) from None
    return sizes


def attention(expected, params, query, key, value, bias=None, *, optional=()):
    """Check the inputs and parameters of a mechanism -> the shape (..., T, S) of its scores, which mask and bias have.

    Its leading axes are those of query and key; optional: parameters that may be left out.
    """
    parameters(expected, params, inputs=("query", "key", "value"), optional=optional)
    sizes = shapes(expected, query=query, key=key, value=value, **params)
    if not sizes["S"]:
        raise ValueError(f"key {key.shape} has S=0 source time steps: there is nothing to look at")
    scores = (*np.broadcast_shapes(query.shape[:-2], key.shape[:-2]), sizes["T"], sizes["S"])
    if bias is not None:
        together(query=query, bias=bias)
        floating("bias", bias)
        broadcasts("bias", bias.shape, scores, "(..., T, S)")
    return scores


def parameters(expected, params, inputs, optional=()):
    """The names of the parameters are those of SHAPES, but for the optional ones."""
    names = [name for name in expected if name not in inputs]
    if missing := [name for name in names if name not in params and name not in optional]:
        raise ValueError(f"the parameters of this op need {', '.join(missing)}, but hold {', '.join(params) or 'none'}")
    if unknown := [name for name in params if name not in names]:
        has = ", ".join(names) or "no parameters"
        raise ValueError(f"the parameters hold {', '.join(unknown)}, but the SHAPES of this op declare {has}")


def recurrence(expected, params, inputs, State, state):
    """Check the inputs (B, T, I), the state and the parameters of a cell -> the sizes by letter."""
    fields = State._fields
    if state is not None and (not isinstance(state, tuple) or len(state) != len(fields)):
        came = f"{len(state)} arrays" if isinstance(state, tuple) else type(state).__name__
        raise ValueError(f"the state must be a tuple ({', '.join(fields)}) of arrays (B, N) but {came} came")
    if state is not None and any(part is None for part in state):
        raise ValueError(f"the state ({', '.join(fields)}) has a None in it: give zeros, or None for the whole state")
    parameters(expected, params, inputs=("inputs", *fields))
    sizes = shapes(expected, inputs=inputs, **params, **dict(zip(fields, state or (), strict=False)))
    if not sizes["T"]:
        raise ValueError(f"inputs {inputs.shape} have T=0 time steps: an empty sequence has no last state")
    return sizes


def directions(params, state):
    """Parameters and state of a bidirectional reader come in pairs."""
    if params.keys() != {"forward", "backward"}:
        raise ValueError(f"the parameters must be two cells, forward and backward, but hold {', '.join(params)}")
    if state is not None and (not isinstance(state, tuple) or len(state) != 2):
        raise ValueError("the state must be a pair: the state of the forward cell and that of the backward cell")


def groups(H, G):
    """H heads share G key/value heads evenly."""
    if H % G:
        raise ValueError(f"the H={H} heads cannot share G={G} key/value heads evenly: H must be a multiple of G")


def block(params, x, memory, activation):
    """The inputs of a Transformer layer, against what its parameters were made for."""
    M = params["norm_feed"]["gain"].shape[0]
    together(x=x, memory=memory, parameters=params["norm_feed"]["gain"])
    for name, array in (("x", x), ("memory", memory)):
        if array is None:
            continue
        floating(name, array)
        if array.ndim < 2 or array.shape[-1] != M:
            raise ValueError(f"{name} must be (B, T, M) with M={M} model features but came with shape {array.shape}")
    if (memory is None) != ("recall" not in params):
        made = "with" if "recall" in params else "without"
        came = "none came" if memory is None else "one came"
        raise ValueError(f"this layer was made {made} attention to a memory, but {came}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)} but is {activation!r}")


def image(images, convolutions, strides):
    """Images (B, Y, X, I) that every stride divides, one stride for each convolution."""
    if getattr(images, "ndim", 0) != 4:
        came = getattr(images, "shape", type(images).__name__)
        raise ValueError(
            f"images must be (B, Y, X, I), rows, columns, channels, but came as {came}: grey images get their one "
            f"channel by images[..., None]"
        )
    floating("images", images)
    if len(strides) != len(convolutions):
        raise ValueError(
            f"strides {tuple(strides)} must be one number for each of the {len(convolutions)} convolutions: give those "
            f"that init was given"
        )
    step = math.prod(strides)
    if any(n == 0 or n % step for n in images.shape[1:3]):
        raise ValueError(
            f"images of {images.shape[1]} x {images.shape[2]} cannot be divided by strides of {step} altogether: cut "
            f"or pad them"
        )


def sequences(**ids):
    """Integer ids (B, T) with at least one time step, all of one batch size."""
    together(**ids)
    for name, array in ids.items():
        if getattr(array, "ndim", 0) != 2:
            came = getattr(array, "shape", type(array).__name__)
            raise ValueError(f"{name} must hold token ids (B, T), one row a sequence, but came as {came}")
        if not array.shape[1]:
            raise ValueError(f"{name} {array.shape} has no time steps: an empty sequence says nothing")
    if len({array.shape[0] for array in ids.values()}) > 1:
        came = ", ".join(f"{name} {array.shape}" for name, array in ids.items())
        raise ValueError(f"all sequences need one batch size B, but {came} came")


def on_device(array):
    """Does it lie on a graphics card? CuPy's arrays come to the host by `get()` alone, which pandas means otherwise."""
    return not isinstance(array, np.ndarray) and hasattr(array, "get") and hasattr(array, "__array_function__")


def together(**arrays):
    """All on the host or all on a device: nothing is carried over in silence."""
    for x in arrays.values():
        if x is not None and not isinstance(x, np.ndarray):
            break
    else:
        return  # as nearly always
    places = {name: on_device(x) for name, x in arrays.items() if isinstance(x, np.ndarray) or on_device(x)}
    if len(set(places.values())) > 1:
        host, device = (next(name for name, place in places.items() if place is there) for there in (False, True))
        raise TypeError(
            f"{host} lies on the host but {device} on a device: bring both to one place, by to_device or to_host of "
            f"minattn.backend"
        )


def reaches(name, array, like):
    """Lengths and their kind are brought to a device where they are needed, but nothing comes back in silence."""
    if on_device(array) and not on_device(like):
        raise TypeError(
            f"{name} lies on a device but what it is for on the host: fetch it by to_host of minattn.backend"
        )


def count(name, number):
    """A whole number of at least 1."""
    whole = not isinstance(number, bool) and hasattr(number, "__index__")
    if not whole or number < 1:
        raise ValueError(f"{name} must be a whole number of at least 1 but is {number!r}")


def floating(name, array):
    """Real or complex floating numbers; integers and booleans would lose every fraction."""
    if not hasattr(array, "dtype"):
        raise TypeError(f"{name} must be an array of floating numbers but is a {type(array).__name__}")
    if array.dtype.kind not in "fc":
        raise TypeError(
            f"{name} must be floating but has dtype {array.dtype}: gradients need fractions, write {name}.astype(float)"
        )


def boolean(mask):
    """True = may look. Numbers are refused, since 0/1, -inf/0 and True = hidden all exist elsewhere."""
    dtype = getattr(mask, "dtype", None)
    if dtype is None and hasattr(mask, "tile"):
        raise TypeError(
            f"mask must be a boolean array here but is the rule {mask!r}: make the array by "
            f"minattn.masks.array(mask, scores.shape, like=scores)"
        )
    if dtype is None:
        raise TypeError(f"mask must be a rule of minattn.masks or a boolean array but is a {type(mask).__name__}")
    if dtype.kind != "b":
        raise TypeError(
            f"mask must be boolean, True = may look, but has dtype {dtype}: terms that are added to the scores "
            f"belong in `bias`, and a mask of ones and zeros becomes boolean by mask.astype(bool)"
        )


def broadcasts(name, shape, target, meaning):
    """shape must broadcast to target without making it larger."""
    try:
        fits = np.broadcast_shapes(shape, target) == tuple(target)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} has shape {tuple(shape)}, which does not broadcast to {meaning} = {tuple(target)}: "
            f"every axis must be equal or 1, counted from the right"
        )


def heads(name, shape, H):
    """An array for scores (..., H, T, S) has H heads or 1 there, or is (T, S) at most."""
    if len(shape) > 2 and shape[-3] not in (1, H):
        raise ValueError(
            f"{name} has shape {tuple(shape)}, which is read as (..., H, T, S) with H={H} heads or 1, not {shape[-3]}: "
            f"one for each sequence, alike for all heads, is (B, 1, T, S), so write {name}[..., None, :, :]"
        )


def tokens(ids, V, *, name="ids", like=None):
    """Integers in 0 .. V-1, of shape `like` where given."""
    integers(name, ids)
    if like is not None and ids.shape != like:
        raise ValueError(f"{name} must have shape {like}, one token for each row of logits, but have {ids.shape}")
    if ids.size and not ((ids >= 0) & (ids < V)).all():  # one answer, for which a device is waited for once
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise ValueError(
            f"{name} must lie in 0 .. V-1 = {V - 1} but {int(wrong)} came: the vocabulary has V={V} tokens, "
            f"and padding needs an id of its own"
        )


def integers(name, ids):
    """Token ids are whole numbers."""
    if getattr(ids, "dtype", None) is None or ids.dtype.kind not in "iu":
        came = getattr(ids, "dtype", type(ids).__name__)
        raise TypeError(f"{name} must be an array of integers, the numbers of tokens, but came as {came}")


def lengths(lengths, leading, steps, letter="T"):
    """Integers in 0 .. steps for the leading axes (B, ...) of a batch -> the same as an array."""
    lengths = lengths if hasattr(lengths, "dtype") else np.asarray(lengths, dtype=None if np.size(lengths) else int)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, time steps of each sequence, but have dtype {lengths.dtype}")
    fits = lengths.ndim <= len(leading) and all(
        n in (1, m) for n, m in zip(lengths.shape, leading[: lengths.ndim], strict=True)
    )
    if not fits:
        raise ValueError(
            f"lengths {lengths.shape} must stand for the leading axes {tuple(leading)} of the batch, from the left"
        )
    if lengths.size and not (0 <= lengths.min() and lengths.max() <= steps):
        wrong = lengths.min() if lengths.min() < 0 else lengths.max()
        raise ValueError(f"lengths must lie in 0 .. {letter} = {steps} but {int(wrong)} came")
    return lengths


def _axes(letters):
    return letters.replace(" ", ", ")
