"""The stand-in allows what CuPy allows: compared with CuPy itself. This needs CuPy, but no card."""

import inspect

import device
import laws
import numpy as np
import pytest

from minattn import optim, training, tree
from minattn.gradcheck import registry
from minattn.models import language_model, seq2seq

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def asked():
    """Everything that all ops ask of a device, and training, writing and beam search."""
    device.asked.clear()
    for op, cases in registry().values():
        for case in cases(np.random.default_rng(0)):
            laws.device(op, case)
    rng, put = np.random.default_rng(0), lambda t: tree.map(device.DeviceArray, t)
    tokens = rng.integers(7, size=(2, 3))
    params = put(language_model.init(rng, V=7, M=8, H=2, L=1))
    language_model.generate(params, put(tokens), steps=3, rng=rng, top_k=5, top_p=0.9)
    _, grads = training.gradients(language_model, params, (put(tokens),), put(tokens), ignore_index=0)
    optim.Flat(params).step(grads, learning_rate=0.1, max_norm=0.1)
    optim.adamw(params, optim.clip(grads, 0.1)[0], learning_rate=0.1)
    params = put(seq2seq.init(rng, source_vocabulary=7, target_vocabulary=7, I=4, N=4))
    seq2seq.beam(params, put(tokens), start=0, end=1, steps=3, width=2)
    assert len(device.asked) > 150
    return sorted(device.asked, key=str)


def test_what_is_asked_exists_and_takes_the_arguments(asked):
    missing = []
    for name, count, keywords, _ in asked:
        holder = cupy.ndarray if name.startswith(".") else cupy
        function = holder
        for part in name.lstrip(".").split("."):
            function = getattr(function, part, None)
        if function is None:
            missing.append(name)
            continue
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # compiled, without a signature
            continue
        keywords = keywords - {"like"}
        try:
            signature.bind(*[None] * count, **dict.fromkeys(keywords))
        except TypeError as error:
            missing.append(f"{name}: {error}")
    assert not missing


def test_every_ufunc_has_a_loop_for_what_it_is_asked(asked):
    """For the dtypes, or for wider ones of the same kind."""
    missing = []
    for name, _, _, kinds in asked:
        ufunc = getattr(cupy, name.partition(".")[0], None)
        if not isinstance(ufunc, cupy.ufunc) or not kinds:
            continue
        loops = {loop.partition("->")[0] for loop in ufunc.types}
        common = np.result_type(*(np.dtype(kind) for kind in kinds))
        if not any(all(np.can_cast(common, kind) for kind in loop) for loop in loops):
            missing.append(f"{name} of {kinds}")
    assert not missing


@pytest.mark.parametrize("name", sorted(device.FUNCTIONS))
def test_the_functions_of_the_stand_in_are_those_of_cupy(name):
    assert getattr(cupy, name) is not getattr(np, name)


@pytest.mark.parametrize("name", [*device.METHODS.split(), "take", "transpose", "get"])
def test_the_methods_of_the_stand_in_are_those_of_cupy(name):
    assert callable(getattr(cupy.ndarray, name))


@pytest.mark.parametrize("name", ["shape", "ndim", "size", "dtype", "real", "imag", "T", "mT", "__len__", "__iter__"])
def test_so_are_its_attributes(name):
    assert hasattr(cupy.ndarray, name)


@pytest.mark.parametrize("refused", ["vecdot", "matvec", "vecmat"])
def test_what_the_stand_in_refuses_is_not_there(refused):
    assert not hasattr(cupy, refused) or getattr(cupy, refused) is getattr(np, refused)


@pytest.mark.parametrize("name, keyword", [("max", "initial"), ("sum", "where"), ("any", "where"), ("min", "initial")])
def test_keywords_that_the_stand_in_refuses_are_not_there(name, keyword):
    assert keyword not in inspect.signature(getattr(cupy, name)).parameters
