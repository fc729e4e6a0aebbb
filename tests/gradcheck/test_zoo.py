"""Every bug of the zoo is alive: its line stands in the library, it shows where its row says, and no two are one."""

import functools

import laws
import numpy as np
import pytest

from minattn import masks, tree
from minattn.gradcheck import adjoint, case_params, check_case, registry
from minattn.gradcheck.zoo import ZOO, Bug, build, edited, named, of
from minattn.models import MODELS

PUBLISHED = [  # wrong gradients that were published and looked right
    "softmax backward divides by the batch size",
    "layer norm backward pulls the gain outside the sums",
    "dropout: dvalue uses the weights before dropout",
    "only the diagonal of the softmax jacobian",
    "multi-query dkey is not summed over the heads that share it",
    "a + b + bias if bias is not none else 0",
    "state left over from the last call",
    "query and key swapped in both passes",
    "scale by the root of the model width, not of the head width",
    "causal mask inverted",
    "fully masked row is nan",
]
LAWS = {law.__name__: law for law in laws.LAWS if law is not laws.gradient}
ONE = named("softmax backward divides by the batch size")

rows = functools.partial(pytest.mark.parametrize, "bug", ids=lambda bug: bug.name)
quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NaN and infinities are what some bugs are about


@functools.cache
def known():
    """{name: (op, {name of a case: case})}."""
    return {
        name: (op, {case.name: case for case in cases(np.random.default_rng(0))})
        for name, (op, cases) in registry().items()
        if name in {bug.op for bug in ZOO}
    }


def place(bug):
    """-> the real op, and the case in which the bug shows."""
    op, cases = known()[bug.op]
    return op, cases[bug.case]


def slant(op, case):
    """How far the gradient is off in one random direction, in which every element has its part."""
    return adjoint(op, case_params(op, case, laws.rng()), case.inputs, case.options, laws.rng())


def results(op, params, case):
    """The arrays of the output and of the gradients by path, or the way in which the op fails."""
    try:
        out, cache = laws.run(op, params, case)
        return dict(tree.leaves((out, op.backward(laws.upstream(out), cache))))
    except (AttributeError, ValueError) as error:
        return repr(error)


def same(left, right):
    if isinstance(left, str) or isinstance(right, str):
        return left == right
    return left.keys() == right.keys() and all(
        x.shape == right[path].shape and np.allclose(x, right[path], rtol=1e-9, atol=1e-12, equal_nan=True)
        for path, x in left.items()
    )


def test_rows_are_complete():
    assert len(ZOO) >= 70
    names = [bug.name for bug in ZOO]
    assert len(set(names)) == len(names)
    assert set(PUBLISHED) <= set(names)
    assert {bug.shown_by for bug in ZOO} <= {"gradient", "output", *LAWS}
    for bug in ZOO:
        for sentence in (bug.why, bug.formula):
            assert 0 < len(sentence) <= 120 and "\n" not in sentence, bug.name
        assert bug.why.endswith("."), bug.name


@rows([bug for bug in ZOO if bug.shown_by == "gradient"])
@quiet
def test_a_gradient_check_shows_it(bug):
    real, case = place(bug)
    assert slant(real, case) <= 1e-12
    model = bug.op.split("-")[0] in MODELS  # so many elements that they are asked all at once
    assert (slant(build(bug), case) if model else check_case(build(bug), case, laws.rng()).error) > 1e-9


@rows([bug for bug in ZOO if bug.shown_by in LAWS])
@quiet
def test_its_law_shows_it(bug):
    real, case = place(bug)
    LAWS[bug.shown_by](real, case)
    with pytest.raises(AssertionError):
        LAWS[bug.shown_by](build(bug), case)


@rows([bug for bug in ZOO if bug.shown_by == "output"])
def test_its_output_shows_it(bug):
    real, case = place(bug)
    params = laws.params_of(real, case)
    with pytest.raises(AssertionError):
        laws.close(laws.run(build(bug), params, case)[0], laws.run(real, params, case)[0], 1e-9)


@rows([bug for bug in ZOO if "in both passes" in bug.name])
def test_a_bug_in_both_passes_is_no_wrong_gradient(bug):
    assert bug.shown_by != "gradient"
    assert slant(build(bug), place(bug)[1]) <= 1e-11


@rows([bug for bug in ZOO if bug.shown_by != "twice"])  # which a single call does not show
@quiet
def test_no_other_bug_gives_the_same(bug):
    real, case = place(bug)
    params = laws.params_of(real, case)
    found = results(build(bug), params, case)
    for other in of(bug.op):
        if other != bug:
            assert not same(results(build(other, bug.op), params, case), found), f"it is also {other.name!r}"


@rows(ZOO)
def test_it_can_show_in_its_op(bug):
    assert edited(bug)
    assert bug in of(bug.op)


def test_of_finds_the_bugs_of_what_an_op_uses():
    names = {bug.name for bug in of("dot")}
    assert {"causal mask inverted", "fully masked row is nan", "dropout backward forgets the scale"} <= names
    assert not {bug.where for bug in of("dot")} & {"recurrent.lstm", "functions.norm", "functions.loss", "models.block"}
    assert {bug.where for bug in of("bidirectional-gru")} == {
        "recurrent.bidirectional", "recurrent.gru", "recurrent.unroll", "functions.activation", "functions.linear",
    }  # fmt: skip
    assert {bug.where for bug in of("rms_norm") if "rms" not in bug.name} == {"functions.broadcast"}
    with pytest.raises(ValueError, match="no op is called 'attention'"):
        of("attention")


def test_a_bug_can_be_built_into_what_uses_it():
    query, key, value = (np.random.default_rng(0).normal(size=(2, 3, 4)) for _ in range(3))
    real = registry()["dot"][0]
    out, cache = build(ONE, "dot").forward({}, query, key, value, mask=masks.causal())
    expected, right = real.forward({}, query, key, value, mask=masks.causal())
    assert np.array_equal(out, expected)
    (dquery, _, dvalue, _), _ = build(ONE, "dot").backward(out, cache)
    (dquery_right, _, dvalue_right, _), _ = real.backward(out, right)
    assert np.allclose(dquery, dquery_right / 2) and np.array_equal(dvalue, dvalue_right)


def test_settings_stay_bound():
    bug = named("gru: z and 1 - z swapped in backward")
    for name in ("bidirectional-gru", "seq2seq-gru", "layers-gru-bidirectional"):
        op, cases = registry()[name]
        case = cases(np.random.default_rng(0))[0]
        params = case_params(op, case, laws.rng())
        laws.close(laws.run(build(bug, name), params, case)[0], laws.run(op, params, case)[0], 0)
        assert slant(build(bug, name), case) > 1e-9
        assert bug in of(name)
    assert bug not in of("seq2seq")


def test_the_real_modules_stay_as_they_are():
    before = {name: vars(op).copy() for name, (op, _) in known().items()}
    for bug in ZOO:
        build(bug)
    assert all(vars(op) == before[name] for name, (op, _) in known().items())
    real, case = place(ONE)
    assert build(ONE) is build(ONE) is not real
    laws.gradient(real, case)


def test_a_line_that_has_gone_is_told():
    gone = Bug("a bug of old", "attention.dot", {"scores = query * key": "scores = key"}, "dot", "batch", "", "")
    with pytest.raises(
        LookupError, match=r"'scores = query \* key' is no longer in minattn.attention.dot.*'a bug of old'"
    ):
        build(gone)
    with pytest.raises(ValueError, match="no op is called 'dots'"):
        build(ONE, "dots")
    with pytest.raises(KeyError, match="no bug is called 'none'"):
        named("none")
