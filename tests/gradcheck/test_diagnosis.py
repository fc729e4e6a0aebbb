"""What a mistake looks like: named where it is known, silent where it is not, and never a word about what is right."""

import re

import numpy as np
import pytest
import strangers

from minattn.attention import dot
from minattn.gradcheck import case_params, gradcheck, registry, zoo
from minattn.gradcheck.rules import RULES
from minattn.models import MODELS

RIGHT = strangers.build(strangers.RIGHT)


def said(report):
    return "; ".join([*report.faults, *(one.name for one in report.likenesses)])


@pytest.mark.parametrize("row", strangers.MISTAKES, ids=lambda row: f"{row[0]}: {row[2] or 'nothing'}"[:60])
def test_a_mistake_in_code_that_knows_nothing_of_us(row):
    name, line, mistake, called = row
    before, after = strangers.RIGHT.split(f"def {name}_grad")
    assert line in after
    wrong = strangers.build(before + f"def {name}_grad" + after.replace(line, mistake, 1))
    given = strangers.inputs(name, np.random.default_rng(0))
    assert gradcheck(RIGHT[name], RIGHT[f"{name}_grad"], given)
    report = gradcheck(wrong[name], wrong[f"{name}_grad"], given)
    assert not report
    assert re.search(called, said(report), re.IGNORECASE), (
        f"{called!r} was expected, but: {said(report) or 'nothing'}\n{report}"
    )


@pytest.mark.parametrize("seeds", [range(150), pytest.param(range(150, 1000), marks=pytest.mark.long)], ids=len)
def test_never_a_word_about_a_right_gradient(seeds):
    """1,000 shapes and seeds altogether, sizes from 1 to 6."""
    names = list(dict.fromkeys(row[0] for row in strangers.MISTAKES))
    for seed in seeds:
        rng = np.random.default_rng(seed)
        name = names[seed % len(names)]
        report = gradcheck(RIGHT[name], RIGHT[f"{name}_grad"], other_sizes(name, rng), seed=seed)
        assert report and not report.likenesses, f"{name}, seed {seed}\n{report}"


@pytest.mark.parametrize("seeds", [range(26), pytest.param(range(1200), marks=pytest.mark.long)], ids=len)
def test_silent_about_noise(seeds):
    """2,000 arrays that have nothing to do with the gradient."""
    names, said_nothing = list(dict.fromkeys(row[0] for row in strangers.MISTAKES)), 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        name = names[seed % len(names)]
        given = strangers.inputs(name, rng)
        out = RIGHT[name](*given)
        out = out[0] if isinstance(out, tuple) else out
        maps = [rng.normal(size=(x.size, np.size(out))) if x.dtype.kind == "f" else None for x in given]

        def noise(dy, cache, maps=maps, given=given):
            """Linear in dy, as a gradient is."""
            return tuple((M @ np.ravel(dy)).reshape(x.shape) for M, x in zip(maps, given, strict=True) if M is not None)

        def forward(*x, name=name):
            out = RIGHT[name](*x)
            return out if isinstance(out, tuple) else (out, None)

        report = gradcheck(forward, noise, given, names=[f"x{i}" for i in range(len(given))])
        assert not report and not report.likenesses, f"{name}, seed {seed}\n{report}"
        said_nothing += sum(M is not None for M in maps)
    assert said_nothing >= (2000 if len(seeds) > 1000 else 40)


def test_silent_where_names_alone_are_wrong():
    """The gradients came, under other names: no mistake of the zoo has been made."""

    def backward(dy, cache):
        dx, dgamma, dbeta = RIGHT["norm_grad"](dy, cache)
        return dx, {"scale": dgamma, "shift": dbeta}

    report = gradcheck(RIGHT["norm"], backward, strangers.inputs("norm", np.random.default_rng(0)))
    assert not report and not report.likenesses, report


def test_silent_about_the_upstream_gradient_of_a_loss():
    """A loss has none: what is added wrongly must not be called not linear."""

    def loss(x):
        return (x * x).sum(), 2 * x + 0.1

    report = gradcheck(loss, inputs=(np.random.default_rng(0).normal(size=(3, 4)),))
    assert not report and not report.likenesses, report


def test_a_factor_that_has_several_reasons_tells_them_all():
    x, w, b = (np.random.default_rng(0).normal(size=shape) for shape in ((2, 3), (3, 4), (4,)))
    report = gradcheck(lambda x, w, b: x @ w + b, lambda d, x, w, b: (d @ w.T, x.T @ d, d.mean(axis=0)), (x, w, b))
    assert "A 2 is missing" in str(report) and "Or: A mean over axis 0 of x in the place of a sum" in str(report)


def other_sizes(name, rng):
    """The inputs of a stranger with every size drawn anew."""
    sizes = {}

    def resize(shape):
        return tuple(sizes.setdefault(n, int(rng.integers(1, 7))) for n in shape)

    given = strangers.inputs(name, np.random.default_rng(0))
    if name in ("lookup", "heads", "gates", "nll", "rnn", "self_attention", "mha", "lstm", "four", "conv"):
        return strangers.inputs(name, rng)
    return tuple(
        rng.random(resize(x.shape)) < 0.6 if x.dtype == bool else rng.normal(size=resize(x.shape)) for x in given
    )


def slow_for_models(bug):
    """A diagnosis of a whole model builds many models."""
    models = [name for name in MODELS if bug.op.startswith(name)]
    return pytest.param(bug, marks=pytest.mark.long if models else (), id=bug.name)


@pytest.mark.parametrize("bug", list(map(slow_for_models, zoo.ZOO)))
def test_the_zoo_is_named(bug):
    """Every bug in one of our ops, met at inputs that the zoo has never seen."""
    if bug.shown_by != "gradient":
        pytest.skip(f"shown by {bug.shown_by}: no gradient check can see it")
    _, cases = registry()[bug.op]
    (case,) = [case for case in cases(np.random.default_rng(5)) if case.name == bug.case]
    broken = zoo.build(bug)
    params = case_params(broken, case, np.random.default_rng(6))
    report = gradcheck(broken, inputs=case.inputs, params=params, options=case.options)
    assert not report
    assert bug.name in said(report), f"{said(report) or 'nothing'}\n{report}"


def test_a_forward_that_is_wrong_is_compared_by_its_output():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 5, 6))

    def by_width(q, k, v):
        (out, cache) = dot.forward({}, 4**-0.5 * q, k, v)  # divided by D altogether
        return out, cache

    def backward(dout, cache):
        dq, dk, dv, _ = dot.backward(dout, cache)[0]
        return 4**-0.5 * dq, dk, dv

    assert gradcheck(by_width, backward, (q, k, v))
    report = gradcheck(by_width, backward, (q, k, v), reference="dot")
    assert not report and "forward is not dot" in said(report)
    assert "scale" in said(report)
    with pytest.raises(ValueError, match="no op is called 'dott'"):
        gradcheck(by_width, backward, (q, k, v), reference="dott")
    with pytest.raises(ValueError, match="reference='lstm' cannot be called with q, k, v"):
        gradcheck(by_width, backward, (q, k, v), reference="lstm")


def test_every_rule_has_a_mistake_that_it_names(monkeypatch):
    """Without the rule some mistake is called something else, or nothing."""
    from minattn.gradcheck import rules

    spoke = set()

    def spying(rule):
        def spy(wrong):
            found = rule(wrong)
            if found:
                spoke.add(rule.__name__)
            return found

        return spy

    spies = tuple(map(spying, RULES))
    monkeypatch.setattr(rules, "RULES", spies)
    for rule, spy in zip(RULES, spies, strict=True):
        monkeypatch.setattr(rules, rule.__name__, spy)
    monkeypatch.setattr(zoo, "of", lambda name: [])
    for name, line, mistake, _ in strangers.MISTAKES + RARE:
        before, after = strangers.RIGHT.split(f"def {name}_grad")
        wrong = strangers.build(before + f"def {name}_grad" + after.replace(line, mistake, 1))
        gradcheck(wrong[name], wrong[f"{name}_grad"], strangers.inputs(name, np.random.default_rng(0)))
    assert {rule.__name__ for rule in RULES} - spoke == set()


# mistakes that are rarer, for the rules that the others do not need
RARE = [
    ("affine", "dx = dy.dot(w.T)", "dx = dy.dot(w.T) ** 2", ""),
    ("affine", "db = dy.sum(axis=0)", "db = dy.sum(axis=0)[None]", ""),
    ("affine", "dw = x.T.dot(dy)", "dw = x.T.dot(dy).sum(axis=0)", ""),
    ("affine", "dw = x.T.dot(dy)", "dw = np.roll(x.T.dot(dy), 1, axis=0)", ""),
    ("scores", "return dq, dk", "return dq, ds @ k * scale", ""),
    ("masked", "np.where(keep, dy, 0) * 3", "np.where(keep, dy, np.nan) * 3", ""),
    ("norm", "return dx, dgamma, dbeta", "return dx, dgamma, dbeta * gamma", ""),
]
