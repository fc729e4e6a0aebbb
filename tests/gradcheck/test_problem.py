"""Whatever people write: every way to call a backward, to keep parameters, to return gradients; and every bad call."""

import copy
import types
from typing import NamedTuple

import numpy as np
import pytest

from minattn.gradcheck import gradcheck

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 5)), RNG.normal(size=5)
V = RNG.normal(size=(5, 4))
IDS = np.array([2, 0, 2])


def names(report):
    return [row.name for row in report.rows]


def both(make, *inputs, **settings):
    """make(c) is (forward, backward) whose gradients are right for c = 1: right, and wrong for c = 2."""
    right = gradcheck(*make(1), inputs, **settings)
    assert right, right
    assert not gradcheck(*make(2), inputs, **settings), "a wrong gradient in this style is not seen"
    return names(right)


def linear(x, W):
    return x @ W


def lookup(ids, table):
    return table[ids]


def scatter(ids, d, rows=4):
    dtable = np.zeros((rows, d.shape[-1]))
    np.add.at(dtable, ids, d)
    return dtable


class Grads(NamedTuple):
    W: np.ndarray
    x: np.ndarray


STYLES = {
    "by names": (lambda c: (linear, lambda dout, x, W: (c * dout @ W.T, x.T @ dout)), (X, W)),
    "by names in another order": (lambda c: (linear, lambda g, W, x: (c * g @ W.T, x.T @ g)), (X, W)),
    "by the name of one": (lambda c: (np.tanh, lambda dy, x: c * dy * (1 - np.tanh(x) ** 2)), (X,)),
    "by the result": (lambda c: (lambda x: np.tanh(x), lambda dy, y: c * dy * (1 - y * y)), (X,)),
    "by result and input": (lambda c: (lambda x: x**3, lambda dy, out, x: c * 3 * dy * out / x), (X,)),
    "a list of gradients": (lambda c: (linear, lambda d, x, W: [d @ W.T, c * x.T @ d]), (X, W)),
    "keyword only": (lambda c: (linear, lambda d, *, W, x: (d @ W.T, c * x.T @ d)), (X, W)),
    "in order, other names": (lambda c: (linear, lambda g, a, b: (g @ b.T, c * a.T @ g)), (X, W)),
    "in order, by star": (lambda c: (linear, lambda g, *all: (g @ all[1].T, c * all[0].T @ g)), (X, W)),
    "no inputs at all": (lambda c: (lambda x: 3 * x, lambda dout: c * 3 * dout), (X,)),
    "extras behind the result": (
        lambda c: (lambda x, W: (x @ W, W.T), lambda d, x, W_t: (d @ W_t, c * x.T @ d)),
        (X, W),
    ),
    "cache": (
        lambda c: (lambda x, W: (x @ W, (x, W)), lambda d, cache: (d @ cache[1].T, c * cache[0].T @ d)),
        (X, W),
    ),
    "cache under the name of the input": (lambda c: (lambda x: (x * x, x), lambda d, x: c * 2 * d * x), (X,)),
    "cache under the name of the result": (
        lambda c: (lambda x: (np.exp(x), np.exp(x)), lambda d, out: c * d * out),
        (X,),
    ),
    "cache and a default": (lambda c: (lambda x: (x * x, x), lambda d, kept, c=c: c * 2 * d * kept), (X,)),
    "two outputs, one gradient": (
        lambda c: (
            lambda x, W: (x @ W, x * x, (x, W)),
            lambda d, cache: (d[0] @ cache[1].T + 2 * d[1] * cache[0], c * cache[0].T @ d[0]),
        ),
        (X, W),
    ),
    "two outputs, two gradients": (
        lambda c: (
            lambda x, W: (x @ W, x * x, (x, W)),
            lambda dy, dz, cache: (dy @ cache[1].T + 2 * dz * cache[0], c * cache[0].T @ dy),
        ),
        (X, W),
    ),
    "two outputs in one": (
        lambda c: (
            lambda x, W: ((x @ W, x * x), (x, W)),
            lambda dy, dz, cache: (dy @ cache[1].T + 2 * dz * cache[0], c * cache[0].T @ dy),
        ),
        (X, W),
    ),
    "two outputs by names, one gradient": (
        lambda c: (lambda x, W: (x @ W, x * x), lambda d, x, W: (d[0] @ W.T + 2 * d[1] * x, c * x.T @ d[0])),
        (X, W),
    ),
    "two outputs by names, two gradients": (
        lambda c: (lambda x, W: (x @ W, x * x), lambda dy, dz, x, W: (dy @ W.T + 2 * dz * x, c * x.T @ dy)),
        (X, W),
    ),
    "a cache that backward does not ask for": (
        lambda c: (lambda x, W: (x @ W, (x, W)), lambda d, x, W: (d @ W.T, c * x.T @ d)),
        (X, W),
    ),
    "arrays behind the result that backward does not ask for": (
        lambda c: (lambda x, W: (x @ W, x, W.T), lambda d, x, W: (d @ W.T, c * x.T @ d)),
        (X, W),
    ),
    "two gradients and a cache that backward does not ask for": (
        lambda c: (lambda x, W: (x @ W, x * x, {"x": x}), lambda dy, dz, x, W: (dy @ W.T + 2 * dz * x, c * x.T @ dy)),
        (X, W),
    ),
    "a dict of outputs": (
        lambda c: (lambda x: {"a": x * x, "b": 3 * x}, lambda d, x: c * 2 * d["a"] * x + 3 * d["b"]),
        (X,),
    ),
    "gradients in a dict, as d": (
        lambda c: (linear, lambda d, x, W: {"dW": c * x.T @ d, "dx": d @ W.T}),
        (X, W),
    ),
    "gradients in a dict, by name": (lambda c: (linear, lambda d, x, W: {"W": c * x.T @ d, "x": d @ W.T}), (X, W)),
    "gradients in a dict, as grad_": (
        lambda c: (linear, lambda d, x, W: {"grad_W": c * x.T @ d, "grad_x": d @ W.T}),
        (X, W),
    ),
    "one gradient and a dict": (lambda c: (linear, lambda d, x, W: (d @ W.T, {"dW": c * x.T @ d})), (X, W)),
    "a namedtuple of gradients": (lambda c: (linear, lambda d, x, W: Grads(c * x.T @ d, d @ W.T)), (X, W)),
    "integers left out": (lambda c: (lookup, lambda d, ids, table: c * scatter(ids, d)), (IDS, W)),
    "integers None": (lambda c: (lookup, lambda d, ids, table: (None, c * scatter(ids, d))), (IDS, W)),
    "integers in the cache": (
        lambda c: (lambda ids, table: (table[ids], ids), lambda d, cache: c * scatter(cache, d)),
        (IDS, W),
    ),
    "booleans left out": (
        lambda c: (lambda x, keep: np.where(keep, x, 0 * x), lambda d, x, keep: c * np.where(keep, d, 0)),
        (X, X > 0),
    ),
    "a dict of inputs": (
        lambda c: (lambda x, p: x @ p["W"] + p["b"], lambda d, x, p: (d @ p["W"].T, {"W": c * x.T @ d, "b": d.sum(0)})),
        (X, {"W": W, "b": B}),
    ),
    "a dict of inputs, their gradients as d": (
        lambda c: (lambda p, x: x @ p["W"] + p["b"],
                   lambda d, p, x: ({"dW": c * x.T @ d, "db": d.sum(0)}, d @ p["W"].T)),
        ({"W": W, "b": B}, X),
    ),
    "one dict alone": (
        lambda c: (lambda p: p["x"] @ p["W"], lambda d, p: {"x": d @ p["W"].T, "W": c * p["x"].T @ d}),
        ({"x": X, "W": W},),
    ),
    "nested": (
        lambda c: (
            lambda p: p["a"]["W"] * p["b"][0] + p["b"][1],
            lambda d, p: {"a": {"W": c * d * p["b"][0]}, "b": [d * p["a"]["W"], d]},
        ),
        ({"a": {"W": X}, "b": [X + 1, X + 2]},),
    ),
    "a tuple of inputs": (
        lambda c: (lambda pair, z: pair[0] * pair[1] + z, lambda d, pair, z: ((c * d * pair[1], d * pair[0]), d)),
        ((X, X + 1), X),
    ),
    "one tuple alone": (
        lambda c: (lambda pair: pair[0] * pair[1], lambda d, pair: (c * d * pair[1], d * pair[0])),
        ((X, X + 1),),
    ),
    "a loss that returns its gradients": (
        lambda c: (lambda x, W: ((x @ W).sum(), (np.ones((3, 5)) @ W.T, c * x.T @ np.ones((3, 5)))), None),
        (X, W),
    ),
    "a loss, its gradients behind it": (
        lambda c: (lambda x, W: ((x @ W).sum(), np.ones((3, 5)) @ W.T, c * x.T @ np.ones((3, 5))), None),
        (X, W),
    ),
    "a loss, its gradients in a dict": (
        lambda c: (lambda x, W: (float((x * x).sum() + W.sum()), {"x": 2 * x, "W": c * np.ones_like(W)}), None),
        (X, W),
    ),
    "a loss of one number": (lambda c: (lambda x: ((x * x).sum(), c * 2 * x), None), (X,)),
    "numbers": (lambda c: (lambda x, a: a * x, lambda d, x, a: (d * a, c * (d * x).sum())), (X, 2.0)),
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_every_style_of_functions(style):
    make, inputs = STYLES[style]
    both(make, *inputs)


@pytest.mark.parametrize("style", ["by names", "cache", "gradients in a dict, as d", "two outputs, two gradients"])
def test_every_array_is_looked_at(style):
    make, inputs = STYLES[style]
    assert both(make, *inputs) == ["x", "W"]


def test_arrays_by_name():
    """What forward takes by name only stands in params."""

    def forward(x, *, W):
        return x @ W

    assert both(lambda c: (forward, lambda d, x, W: (d @ W.T, c * x.T @ d)), X, params={"W": W}) == ["x", "W"]
    assert both(lambda c: (forward, lambda d, x, W: {"W": c * x.T @ d, "x": d @ W.T}), X, params={"W": W}) == ["x", "W"]
    with pytest.raises(ValueError, match="W came twice, among the inputs and among the params"):
        gradcheck(linear, lambda d: d, (X, W), params={"W": W})


def test_settings_reach_backward_too():
    def forward(x, *, power):
        return x**power, x

    def backward(d, x, power=0):
        return power * d * x ** (power - 1)

    assert gradcheck(forward, backward, (X,), options={"power": 3})
    assert gradcheck(lambda x, power: x**power, backward, (X,), options={"power": 2})
    assert gradcheck(lambda x, power: x**power, lambda d, x, *, power: power * d * x ** (power - 1), (X,),
                     options={"power": 2})  # fmt: skip


def test_names_and_axes_are_those_of_the_report():
    report = gradcheck(
        lambda *a: a[0] @ a[1], lambda g, *a: (g @ a[1].T, 2 * a[0].T @ g), (X, W), names=["q", "k"],
        axes={"k": "D 5N"},
    )  # fmt: skip
    assert names(report) == ["q", "k"] and "k[d=" in str(report) and "gate=" in str(report)
    assert names(gradcheck(lambda *a: a[0] * a[1], lambda g, *a: (g * a[1], g * a[0]), (X, X))) == [
        "input_0", "input_1"
    ]  # fmt: skip
    nested = gradcheck(
        lambda p: p["l"]["W"] ** 2, lambda d, p: {"l": {"W": d}}, ({"l": {"W": X}},), axes={"W": "T D"}, names=["p"]
    )
    assert names(nested) == ["p.l.W"] and "p.l.W[t=" in str(nested)


class Attributes:
    """layer.W and layer.dW, made only in backward; x, z and their gradients are kept too and are no parameters."""

    def __init__(self, c=1):
        self.W, self.b, self.c = W.copy(), B.copy(), c

    def forward(self, x):
        self.x, self.z = x, x @ self.W + self.b
        return np.tanh(self.z)

    def backward(self, dout):
        self.dz = dout * (1 - np.tanh(self.z) ** 2)
        self.dW, self.db, self.dx = self.c * self.x.T @ self.dz, self.dz.sum(axis=0), self.dz @ self.W.T
        return self.dx


class Dicts:
    def __init__(self, c=1):
        self.params, self.grads, self.c = {"W": W.copy(), "b": B.copy(), "n": 3}, {}, c

    def forward(self, x):
        self.kept = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout):
        self.grads = {"W": self.c * self.kept.T @ dout, "b": dout.sum(axis=0)}
        return dout @ self.params["W"].T


class NestedDicts(Dicts):
    def __init__(self, c=1):
        super().__init__(c)
        self.params = {"l": self.params}

    def forward(self, x):
        self.kept = x
        return x @ self.params["l"]["W"] + self.params["l"]["b"]

    def backward(self, dout):
        self.grads = {"l": {"W": self.c * self.kept.T @ dout, "b": dout.sum(axis=0)}}
        return dout @ self.params["l"]["W"].T


class AttributesAndDict(Attributes):
    def backward(self, dout):
        dx = super().backward(dout)
        self.gradients = {"W": self.dW, "b": self.db}
        del self.dW, self.db, self.dx
        return dx


class Returned(Attributes):
    """Keeps no gradients but returns them, by name."""

    def backward(self, dout):
        dx = super().backward(dout)
        return dx, {"dW": self.dW, "db": self.db}


class Unusual(Attributes):
    def backward(self, dout):
        dx = super().backward(dout)
        self.slope_of_W, self.slope_of_b = self.dW, self.db
        del self.dW, self.db
        return dx


class Zeroed(Attributes):
    """Adds up, and sets back when it is told to."""

    def __init__(self, c=1):
        super().__init__(c)
        self.zero_grad()

    def zero_grad(self):
        self.grad_W, self.grad_b = np.zeros_like(self.W), np.zeros_like(self.b)

    def backward(self, dout):
        dx = super().backward(dout)
        self.grad_W += self.dW
        self.grad_b += self.db
        del self.dW, self.db
        return dx


class TwoOutputs(Attributes):
    def forward(self, x):
        return super().forward(x), 2 * x

    def backward(self, dout, dtwice):
        return super().backward(dout) + 2 * dtwice


@pytest.mark.parametrize("kind", [Attributes, Dicts, AttributesAndDict, Returned, Zeroed, TwoOutputs])
@pytest.mark.parametrize("used", [False, True])
def test_objects_that_keep_their_parameters(kind, used):
    """New, or used before: what an earlier call has left is no parameter."""

    def make(c):
        layer = kind(c)
        if used:
            out = layer.forward(X)
            layer.backward(*out) if isinstance(out, tuple) else layer.backward(out)
        return layer, None

    assert both(make, X) == ["x", "W", "b"]


def test_objects_with_nested_parameters():
    assert both(lambda c: (NestedDicts(c), None), X) == ["x", "l.W", "l.b"]


class Lists(Attributes):
    """Parameters and gradients in two lists, written into."""

    def __init__(self, c=1):
        self.params, self.c = [W.copy(), B.copy()], c
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x):
        self.x = x
        return np.tanh(x @ self.params[0] + self.params[1])

    def backward(self, dout):
        dz = dout * (1 - np.tanh(self.x @ self.params[0] + self.params[1]) ** 2)
        self.grads[0][...], self.grads[1][...] = self.c * self.x.T @ dz, dz.sum(axis=0)
        return dz @ self.params[0].T


class Layered:
    """Layers in an attribute, in a list and in a dict, one of them twice."""

    def __init__(self, c=1):
        back = Attributes(c)
        back.W = V.copy()
        back.b = RNG.normal(size=4)
        self.first, self.layers, self.more = Attributes(), [back], {"last": Dicts()}

    def forward(self, x):
        return self.more["last"].forward(self.layers[0].forward(self.first.forward(x)))

    def backward(self, dout):
        return self.first.backward(self.layers[0].backward(self.more["last"].backward(dout)))


class Tied:
    """W of both layers is one array; each keeps its own gradient."""

    def __init__(self, c=1):
        self.layers = [Attributes(), Attributes(c)]
        self.layers[1].W = self.layers[0].W = RNG.normal(size=(4, 4))
        for layer in self.layers:
            layer.b = RNG.normal(size=4)

    def forward(self, x):
        return self.layers[1].forward(self.layers[0].forward(x))

    def backward(self, dout):
        return self.layers[0].backward(self.layers[1].backward(dout))


class Collected(Lists):
    """What the layers have stands in lists of the whole, too: the same arrays."""

    def __init__(self, c=1):
        self.layer = Lists(c)
        self.params, self.grads = self.layer.params, self.layer.grads

    def forward(self, x):
        return self.layer.forward(x)

    def backward(self, dout):
        return self.layer.backward(dout)


def test_objects_with_lists_and_with_layers():
    assert both(lambda c: (Lists(c), None), X) == ["x", "params.0", "params.1"]
    first, back, last = ["first.W", "first.b"], ["layers.0.W", "layers.0.b"], ["more.last.W", "more.last.b"]
    assert both(lambda c: (Layered(c), None), X) == ["x", *first, *back, *last]
    assert both(lambda c: (Layered(c), None), X, params={"layers.0.W": "layers.0.dW"}) == ["x", "layers.0.W"]
    with pytest.raises(ValueError, match="Layered has no layers.1: .* it holds 0"):
        gradcheck(Layered(), None, (X,), params={"layers.1.W": "layers.1.dW"})


def test_one_array_in_several_places_is_one_parameter():
    assert both(lambda c: (Tied(c), None), X) == ["x", "layers.0.W", "layers.0.b", "layers.1.b"]
    assert both(lambda c: (Collected(c), None), X) == ["x", "params.0", "params.1"]


def test_objects_with_unusual_names():
    named = {"W": "slope_of_W", "b": "slope_of_b"}
    assert both(lambda c: (Unusual(c), None), X, params=named) == ["x", "W", "b"]
    assert names(gradcheck(Unusual(), None, (X,))) == ["x"]
    assert both(lambda c: (Dicts(c), None), X, params={"params.W": "grads.W"}) == ["x", "params.W"]
    with pytest.raises(ValueError, match=r'Unusual has no dW: params must name each .* as in params={"W": "dW"}'):
        gradcheck(Unusual(), None, (X,), params={"W": "dW"})


def test_an_object_whose_gradients_add_up():
    class Adds(Zeroed):
        zero_grads = None

        def zero_grad(self):
            if not hasattr(self, "grad_W"):
                super().zero_grad()

    report = gradcheck(Adds(), None, (X,))
    assert all(map(report.right, report.rows)) and not report.notes
    (fault,) = report.faults
    assert "the gradients of W, b are twice as large after a second forward and backward: it is added" in fault


def test_an_object_that_remembers_its_first_call():
    class Remembers(Attributes):
        first = None

        def forward(self, x):
            out = super().forward(x)
            self.first = self.z.copy() if self.first is None else self.first + 1
            self.z = self.first
            return out

    report = gradcheck(Remembers(), None, (X,))
    assert any("different after a second forward and backward: state is kept" in fault for fault in report.faults)


def test_an_object_that_starts_where_it_has_stopped():
    class Stateful(Attributes):
        state = 0.0

        def forward(self, x):
            out = super().forward(x + self.state)
            self.state = self.state + 1.0
            return out

    report = gradcheck(Stateful(), None, (X,))
    assert any("forward gives another result the second time: the object keeps state" in f for f in report.faults)


def test_an_object_whose_backward_forgets_a_parameter():
    class Forgets(Attributes):
        def backward(self, dout):
            dx = super().backward(dout)
            del self.db
            return dx

    report = gradcheck(Forgets(), None, (X,))
    assert names(report) == ["x", "W", "b"] and [report.right(row) for row in report.rows] == [True, True, False]
    assert "no gradient came back, and none is kept beside it" in report.rows[2].remark
    assert gradcheck(Forgets(), None, (X,), params={"W": "dW"})


def test_a_layer_whose_backward_is_never_called():
    class Skips(Layered):
        def backward(self, dout):
            self.more["last"].backward(dout)
            return self.first.backward(np.zeros((3, 5)))

    wrong = [row.name for row in gradcheck(Skips(), None, (X,)).rows if row.remark]
    assert wrong == ["layers.0.W", "layers.0.b"]


def test_a_constant_of_an_object_is_said():
    class Shifted(Attributes):
        def __init__(self, c=1):
            super().__init__(c)
            self.table = np.arange(4.0)

        def forward(self, x):
            return super().forward(x + self.table)

    report = gradcheck(Shifted(), None, (X,))
    assert report and report.notes == ("table has no gradient: taken for a constant",)


def test_an_op_as_a_namespace():
    op = types.SimpleNamespace(
        __name__="mine.scale",
        init=lambda rng: {},
        forward=lambda params, x, *, by=1.0: (x * by * params["a"], (x, by, params["a"])),
        backward=lambda d, cache: ((d * cache[1] * cache[2],), {"a": (d * cache[0] * cache[1]).sum()}),
    )
    report = gradcheck(op, inputs=(X,), params={"a": np.array(2.0)}, options={"by": 3.0})
    assert report and names(report) == ["x", "a"] and report.title == "scale"
    with pytest.raises(ValueError, match="scale takes 1 inputs, x, but 2 came"):
        gradcheck(op, inputs=(X, X))


# what is left over, written to, drawn


def test_randomness_without_a_seed():
    report = gradcheck(lambda x: x * np.random.default_rng().normal(), lambda d, x: d, (X,))
    assert "forward gives another result each time" in str(report)


def test_a_generator_in_the_options():
    """Each call draws the same; the caller's generator does not move."""

    def dropout(x, rng):
        keep = rng.random(x.shape) < 0.5
        return x * keep, keep

    rng = np.random.default_rng(3)
    before = copy.deepcopy(rng.bit_generator.state)
    assert both(lambda c: (dropout, lambda d, keep: c * d * keep), X, options={"rng": rng}) == ["x"]
    assert rng.bit_generator.state == before
    legacy = np.random.RandomState(3)  # noqa: NPY002
    assert gradcheck(lambda x, rng: (x * (k := rng.uniform(size=x.shape)), k), lambda d, k: d * k, (X,),
                     options={"rng": legacy})  # fmt: skip
    assert legacy.uniform() == np.random.RandomState(3).uniform()  # noqa: NPY002


def test_the_global_generator_is_set_back():
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.uniform()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    report = gradcheck(lambda x: x * np.random.normal(), lambda d, x: d, (X,))  # noqa: NPY002
    assert "another result each time" in str(report)
    assert np.random.uniform() == expected  # noqa: NPY002


def test_state_between_two_calls():
    """The cache is a global: right for one call, wrong as soon as there is a second."""
    left = {}

    def forward(x):
        left["x"] = x
        return x * x, None

    report = gradcheck(forward, lambda d, cache: 2 * d * left["x"], (X,))
    assert all(map(report.right, report.rows))
    assert "when forward was called again before backward: state is left over from the last call" in str(report)


def test_gradients_that_add_up_in_a_global():
    total = np.zeros_like(X)

    def backward(d, x):
        nonlocal total
        total += 2 * d * x
        return total

    report = gradcheck(lambda x: x * x, backward, (X,))
    assert not report and all(map(report.right, report.rows)) and "state is left over" in str(report)


def test_inputs_that_forward_writes_to():
    def forward(x, W):
        x *= 0.5
        return np.exp(x) @ W, (x, W)

    def backward(d, cache):
        x, W = cache
        return d @ W.T * np.exp(x) / 2, np.exp(x).T @ d

    report = gradcheck(lambda x, W: forward(x, W), backward, (X, W), max_elements=None)
    assert report.faults == ("forward writes to x: what the caller passed in is changed",)
    assert names(report) == ["x", "W"] and all(map(report.right, report.rows))  # each call got numbers of its own


@pytest.mark.parametrize(
    "backward, written",
    [
        (lambda d, x: np.multiply(d, 2 * x, out=d), "dout"),
        (lambda d, x: (2 * d * x, x.fill(0))[0], "x"),
    ],
)
def test_inputs_that_backward_writes_to(backward, written):
    report = gradcheck(lambda x: x * x, backward, (X,))
    assert report.faults == (f"backward writes to {written}: what the caller passed in is changed",)
    assert all(map(report.right, report.rows))


def test_a_buffer_that_backward_uses_again():
    """The gradient that came first must not change with the second."""
    buffer = np.empty_like(X)
    report = gradcheck(lambda x: x * x, lambda d, x: np.multiply(2 * d, x, out=buffer), (X,))
    assert report, report


def test_nothing_that_was_passed_is_changed():
    def forward(x, p, W):
        x *= 2
        p["a"] += 1
        p["new"] = 1
        W.sort()
        return x @ W + p["a"]

    def backward(d, x, p, W):
        d *= 0
        return d @ W.T, {"a": d.sum()}, x.T @ d

    layer = Attributes()
    x, p, w = X.copy(), {"a": np.array(1.0)}, W.copy()
    inputs, options, params = (x, p, w), {}, {}
    gradcheck(forward, backward, inputs, options=options, params=params)
    assert (x == X).all() and (w == W).all() and p.keys() == {"a"} and p["a"] == 1 and not options and not params
    gradcheck(layer, None, (x,))
    assert vars(layer).keys() == {"W", "b", "c"} and (layer.W == W).all() and (x == X).all()
    layer.forward(x)
    kept = {name: np.copy(value) for name, value in vars(layer).items()}
    gradcheck(layer, None, (X + 1,))
    assert vars(layer).keys() == kept.keys() and all((vars(layer)[name] == kept[name]).all() for name in kept)


# bad calls: one sentence each


def ok(d, x):
    return 2 * d * x


def square(x):
    return x * x


def square_grad(dout, x):
    return 2 * x * dout


@pytest.mark.parametrize(
    "call, error, said",
    [
        (lambda: gradcheck(3, ok, (X,)), TypeError, "needs a function, an op or an object .* but a int came"),
        (lambda: gradcheck(square, X, (X,)), TypeError, "backward must be a function but is a ndarray: give the func"),
        (lambda: gradcheck(square, ok, X), TypeError, r"inputs must be a tuple, .* for one array write \(x,\)"),
        (lambda: gradcheck(square, ok, {"x": X}), TypeError, "inputs must be a tuple, .* but is a dict"),
        (lambda: gradcheck(square, ok), ValueError, "no array came: give them behind the functions"),
        (lambda: gradcheck(square, ok, (IDS,)), ValueError, r"\(x is int64\): .* write x.astype\(float\)"),
        (lambda: gradcheck(square, ok, (X + 0j,)), TypeError, "x has dtype complex128"),
        (lambda: gradcheck(square, ok, (X.astype(np.float16),)), TypeError, "x has dtype float16"),
        (lambda: gradcheck(square, ok, (RNG,)), TypeError, "x is no array of numbers but of object: .* as in options="),
        (lambda: gradcheck(square, ok, ("x",)), TypeError, "x is no array of numbers"),
        (lambda: gradcheck(lambda x: None, ok, (X,)), ValueError, "returned None: is a return missing"),
        (lambda: gradcheck(lambda x: x > 0, ok, (X,)), ValueError, "returned bool: only floating outputs"),
        (lambda: gradcheck(square, ok, (X,), names=["a", "b"]), ValueError, "2 names came for 1 inputs: a, b"),
        (lambda: gradcheck(Attributes(), None, (X,), names=["a", "b"]), ValueError, "2 names came for 1 inputs"),
        (lambda: gradcheck(square, lambda d, cache: d, (X,)), TypeError, r"square must return \(out, cache\), since .*"
            " a cache, but returned a ndarray"),
        (lambda: gradcheck(square, lambda d, x, w: d, (X,)), TypeError, "since backward asks for w, but returned a n"),
        (lambda: gradcheck(lambda x: (x,), lambda d, k: d, (X,)), TypeError, "but returned a tuple of 1"),
        (lambda: gradcheck(lambda x: (x, x, x), lambda a, b, c, kept: a, (X,)), TypeError,
            "takes 3 gradients, one for each output, but forward returned 2 outputs"),
        (lambda: gradcheck(lambda x: (x, x), lambda a, b, kept: a, (X,)), TypeError, "2 gradients, .* one output"),
        (lambda: gradcheck(linear, lambda d, x, W: d, (X, W)), ValueError, "backward of linear returned 1 gradient "
            "for 2 arrays, x, W: return one for each"),
        (lambda: gradcheck(square, lambda d, x: (d, d), (X,)), ValueError, "returned 2 gradients for 1 arrays, x"),
        (lambda: gradcheck(square, None, (X,)), TypeError, r"square came without a backward, so it must return "
            r"\(loss, gradients\), the loss a single number, but returned a ndarray"),
        (lambda: gradcheck(lambda x: (x, 2 * x), None, (X,)), TypeError, r"returned \(\(3, 4\), \(3, 4\)\)"),
        (lambda: gradcheck(square, (X,), ok), TypeError, "forward, backward, inputs in this order, but a tuple came"),
        (lambda: gradcheck(square_grad, square, (X,)), TypeError, "but square_grad came first and .* square takes"),
        (lambda: gradcheck(lambda dy, cache: dy, linear, (X, W)), TypeError, "came first and asks for a gradient"),
        (lambda: gradcheck(square, lambda d, x: None, (X,)), TypeError, "backward of square returned None: is"),
        (lambda: gradcheck(square, ok, (X,), axes={"q": "B T"}), ValueError, "axes names q, but the arrays are x"),
        (lambda: gradcheck(square, ok, (X,), axes={"x": "B T D"}), ValueError, r"x B T D, but it has 2, in .*\(3, 4\)"),
        (lambda: gradcheck(square, ok, (X,), axes={"x": "B"}), ValueError, r"x B, but it has 2, .* or \.\.\. for"),
        (lambda: gradcheck(lambda x, keep: x * keep, lambda d, c: d, (X, (X > 0).astype(float))), TypeError, "cache"),
        (lambda: gradcheck(lambda x, keep: (x * keep, 0), lambda d, c: d, (X, (X > 0).astype(float))), ValueError,
            "1 gradient for 2 arrays, x, keep: .*; keep holds only 0 and 1: a mask that needs no gradient is boolean"),
        (lambda: gradcheck(square, ok, (X,), method="exact"), ValueError, "auto, complex or central but is 'exact'"),
        (lambda: gradcheck(square, ok, (X,), eps=0.0), ValueError, "eps must lie between 0 and 1"),
        (lambda: gradcheck(square, ok, (X,), eps=1e-3, method="complex"), ValueError, "give one or the other"),
        (lambda: gradcheck(square, ok, (X,), tolerance=0.0), ValueError, "tolerance must be larger than 0"),
        (lambda: gradcheck(square, ok, (X,), tolerance=-1), ValueError, "tolerance must be larger than 0"),
        (lambda: gradcheck(square, ok, (X,), max_elements=0), ValueError, "max_elements must be a whole number"),
        (lambda: gradcheck(square, ok, (X,), max_elements=2.5), ValueError, "max_elements must be a whole number"),
    ],
)  # fmt: skip
def test_a_bad_call_is_one_sentence(call, error, said):
    with pytest.raises(error, match=said) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_a_gradient_of_another_shape_or_none_at_all():
    report = gradcheck(linear, lambda d, x, W: {"x": (d @ W.T).sum(axis=0), "V": d}, (X, W))
    assert "WRONG x  (3, 4)  error inf  the gradient has shape (4,), but x has (3, 4)" in str(report)
    assert "WRONG W  (4, 5)  error inf  no gradient came back" in str(report)
    assert "WRONG V  (3, 5)  error inf  a gradient for something that has none" in str(report)


def test_a_class_is_no_object():
    class Scale:
        def forward(self, x):
            return 2 * x

        def backward(self, dout):
            return 2 * dout

    assert gradcheck(Scale(), inputs=(np.ones((2, 3)),))
    with pytest.raises(TypeError, match=r"gradcheck needs an object, Scale\(...\), but the class itself came"):
        gradcheck(Scale, inputs=(np.ones((2, 3)),))
