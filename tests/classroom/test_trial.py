"""A check says what holds, names the mistake, and tells those who did not write it themselves."""

import numpy as np
import pytest

from minattn.classroom import check
from minattn.classroom.exercises import EXERCISES
from minattn.classroom.solutions import reference, wrong
from minattn.classroom.trial import FIRST, attempt
from minattn.classroom.watch import as_arrays
from minattn.functions import softmax


def tempered(scores, temperature):
    """Right, in another way than the solution: loops, and exp of differences."""
    weights = np.zeros(scores.shape)
    for b, t in np.ndindex(scores.shape[0], scores.shape[2]):
        column = scores[b, :, t] / temperature
        weights[b, :, t] = 1 / np.exp(column[None, :] - column[:, None]).sum(axis=1)
    return weights


def tempered_backward(dweights, cache):
    """Right, by the whole Jacobian."""
    scores, temperature, weights = cache
    jacobian = (
        np.einsum("bts,sr->btsr", weights, np.eye(weights.shape[-1])) - weights[..., :, None] * weights[..., None, :]
    )
    dscaled = np.einsum("bts,btsr->btr", dweights, jacobian)
    return [dscaled / temperature, (-dscaled * scores).sum((0, 2)).reshape(-1, 1) / temperature**2]


def test_what_is_right_is_right():
    for seed in range(5):
        for function in (tempered, tempered_backward):
            verdict = attempt(EXERCISES[function.__name__], function, seed, hidden=True)
            assert verdict and verdict.outcome == "OK" and verdict.earned == 1 and not verdict.likely, verdict
    check.tempered(tempered).assert_ok()


def test_what_is_wrong_has_a_name():
    def wrong(scores, temperature):
        e = np.exp(scores / temperature)
        return e / e.sum(axis=2, keepdims=True)

    verdict = check.tempered(wrong)
    assert not verdict and verdict.outcome == "WRONG" and verdict.earned == 0
    assert verdict.names == ("softmax over the queries",)  # and no peak was subtracted, which another line tells
    text = str(verdict)
    assert "WRONG weights sum to 1: weights[0, :, 0] sum to" in text and "hint(1)" in text
    with pytest.raises(AssertionError, match="weights sum to 1"):
        verdict.assert_ok()
    page = verdict._repr_html_()
    assert "✗" in page and "✓" in page and "<script" not in page


def test_two_mistakes_have_two_names():
    def wrong(dweights, cache):
        scores, temperature, weights = cache
        dscaled = weights * (dweights - (dweights * weights).sum(-1, keepdims=True))
        return dscaled, (dscaled * scores / temperature**2).sum((0, 2))[:, None]

    verdict = check.tempered_backward(wrong)
    assert verdict.names == ("the temperature is missing in backward", "dtemperature has the wrong sign")


def test_a_mistake_beside_one_that_nobody_knows():
    def wrong(dweights, cache):
        scores, temperature, weights = cache
        return weights * (1 - weights) * dweights / temperature, np.ones(3)

    assert check.tempered_backward(wrong).names == ("only the diagonal of the softmax jacobian",)


def test_a_mistake_that_nobody_knows_gets_numbers():
    def wrong(dweights, cache):
        dscores, dtemperature = tempered_backward(dweights, cache)
        return dscores + 0.3 * dweights, dtemperature

    verdict = check.tempered_backward(wrong)
    assert verdict.outcome == "WRONG" and not verdict.names and "error" in str(verdict)


def unwritten(scores, temperature):
    raise NotImplementedError("weights")


def without_return(scores, temperature):
    scores / temperature


@pytest.mark.parametrize("function", [unwritten, without_return])
def test_not_written_yet(function):
    verdict = check.tempered(function)
    assert verdict.outcome == "NOT IMPLEMENTED" and verdict.earned == 0 and "○" in verdict._repr_html_()


def test_a_crash_says_where():
    def wrong(scores, temperature):
        return scores @ scores

    verdict = check.tempered(wrong)
    assert verdict.outcome == "CRASHED" and "in the line `return scores @ scores`" in verdict.said
    assert "Was the def line changed?" in check.tempered(lambda scores: scores).said


def test_the_library_did_the_work():
    verdict = check.tempered(
        lambda scores, temperature: np.swapaxes(softmax(np.swapaxes(scores, 1, 2) / temperature), 1, 2)
    )
    assert verdict.outcome == "DELEGATED" and verdict.earned == 0
    assert "minattn.functions.softmax.softmax" in verdict.said and "_" not in verdict.said.split("which")[0].replace(
        "softmax", ""
    )


def test_the_solution_did_the_work():
    assert check.tempered(lambda s, t: reference(EXERCISES["tempered"])(s, t)).outcome == "DELEGATED"


def measured(step, forward):
    """A backward by differences of a forward of one's own."""

    def backward(dweights, cache):
        arrays, gradients = [np.array(x) for x in cache[:2]], []
        for array in arrays:
            gradients.append(np.zeros_like(array))
            for place in np.ndindex(array.shape):
                kept = array[place]
                array[place] = kept + step
                above = (forward(*arrays) * dweights).sum()
                array[place] = kept - step
                gradients[-1][place] = (above - (forward(*arrays) * dweights).sum()) / (2 * step)
                array[place] = kept
        return tuple(gradients)

    return backward


def mine(scores, temperature):
    shares = np.exp(scores / temperature)
    return shares / shares.sum(axis=-1, keepdims=True)


def tempered_scores(scores, temperature):
    return mine(scores, temperature)


@pytest.mark.parametrize(("step", "forward"), [(1e-3, mine), (1e-5, mine), (1e-7, mine), (1e-5, tempered_scores)])
def test_the_gradient_was_measured(step, forward):
    verdict = check.tempered_backward(measured(step, forward))
    assert verdict.outcome == "NUMERICAL" and verdict.earned == 0, verdict


H = 1e-5


def inline(dweights, cache):
    """Differences with the forward written out, and h a name of the module."""
    gradients = []
    for which in range(2):
        gradients.append(np.zeros_like(cache[which]))
        for place in np.ndindex(cache[which].shape):
            both = []
            for sign in (1, -1):
                arrays = [np.array(x) for x in cache[:2]]
                arrays[which][place] += sign * H
                shares = np.exp(arrays[0] / arrays[1])
                both.append((shares / shares.sum(axis=-1, keepdims=True) * dweights).sum())
            gradients[-1][place] = (both[0] - both[1]) / (2 * H)
    return tuple(gradients)


def by_complex_step(dweights, cache):
    gradients = []
    for which in range(2):
        gradients.append(np.zeros_like(cache[which]))
        for place in np.ndindex(cache[which].shape):
            arrays = [x + 0j for x in cache[:2]]
            arrays[which][place] += 1e-20j
            gradients[-1][place] = (mine(*arrays) * dweights).sum().imag / 1e-20
    return tuple(gradients)


def of_the_given_forward(dweights, cache):
    """No step stands in it as a number: it is known by its calls alone."""
    h, gradients = np.ldexp(1, -20), []
    for which in range(2):
        gradients.append(np.zeros_like(cache[which]))
        for place in np.ndindex(cache[which].shape):
            sums = []
            for sign in (1, -1):
                arrays = [np.array(x) for x in cache[:2]]
                arrays[which][place] += sign * h
                sums.append((tempered_scores(*arrays) * dweights).sum())
            gradients[-1][place] = (sums[0] - sums[1]) / (2 * h)
    return tuple(gradients)


@pytest.mark.parametrize("backward", [inline, by_complex_step, of_the_given_forward])
def test_so_was_this(backward):
    assert check.tempered_backward(backward).outcome == "NUMERICAL"


def test_one_forward_within_backward_is_no_difference():
    def again(dweights, cache):
        weights = tempered_scores(*cache[:2])
        return tempered_backward(dweights, (*cache[:2], weights))

    assert check.tempered_backward(again)


def test_what_belongs_to_the_caller():
    def greedy(scores, temperature):
        scores /= temperature
        return tempered(scores, 1.0)

    verdict = check.tempered(greedy)
    assert [mark.name for mark in verdict.marks if not mark.passed] == ["inputs stay untouched"] and not verdict.names
    assert "writes into scores" in str(verdict)


def test_what_is_kept_between_calls():
    kept = []

    def remembering(scores, temperature):
        kept.append(1)
        return tempered(scores, temperature) * (1 + 1e-6 * (len(kept) > 20))

    failed = {mark.name for mark in attempt(EXERCISES["tempered"], remembering, hidden=True).marks if not mark.passed}
    assert failed


def test_hints_and_names():
    hints = [check.tempered.hint(number) for number in (1, 2, 3)]
    assert len({*hints}) == 3 and repr(hints[0]) == str(hints[0])
    with pytest.raises(ValueError, match="hints 1 to 3, not 4"):
        check.tempered.hint(4)
    with pytest.raises(AttributeError, match="did you mean tempered"):
        check.temperd  # noqa: B018
    with pytest.raises(TypeError, match=r"check.tempered\(tempered\), but ndarray came, a result"):
        check.tempered(np.ones(3))
    assert "tempered" in dir(check)


def test_points():
    """Half for the properties, half for being right elsewhere; nothing for shape and manners alone, which are owed."""
    assert attempt(EXERCISES["tempered"], lambda scores, temperature: np.zeros_like(scores), hidden=True).earned < 0.2
    zeros = attempt(EXERCISES["tempered_backward"], lambda dweights, cache: (0 * cache[0], 0 * cache[1]), hidden=True)
    assert zeros.earned == 0 and zeros.outcome == "WRONG"

    def half(dweights, cache):
        dscores, dtemperature = tempered_backward(dweights, cache)
        return dscores, 2 * dtemperature

    assert attempt(EXERCISES["tempered_backward"], half, hidden=True).earned == 0.25

    def rude(scores, temperature):
        right = tempered(scores, temperature)
        scores[:] = 0
        return right

    assert attempt(EXERCISES["tempered"], rude, hidden=True).earned == 0.9


def test_lists_of_numbers_are_as_good_as_arrays():
    assert check.tempered(lambda scores, temperature: tempered(scores, temperature).tolist())
    verdict = check.tempered_backward(lambda d, c: [x.tolist() for x in tempered_backward(d, c)])
    assert verdict, verdict


def test_a_forward_for_each_part_of_the_batch_is_no_difference():
    def by_parts(dweights, cache):
        parts = [tempered_scores(scores[None], cache[1]) for scores in cache[0]]
        return tempered_backward(dweights, (*cache[:2], np.concatenate(parts)))

    assert check.tempered_backward(by_parts)


def test_single_precision_is_told():
    assert "it returns float32: compute in float64" in str(
        check.tempered(lambda scores, temperature: tempered(scores, temperature).astype(np.float32))
    )


def test_a_line_that_was_left():
    def almost(scores, temperature):
        raise NotImplementedError("weights")
        return tempered(scores, temperature)

    assert "that line is still there" in check.tempered(almost).said


def test_a_prediction_is_kept():
    FIRST.clear()
    assert check.unscaled(None).outcome == "NOT IMPLEMENTED" and not FIRST
    first, second = check.unscaled("a"), check.unscaled(" C ")
    assert first.outcome == "WRONG" and second and "At first you said a." in second.said and FIRST == {"unscaled": "a"}
    with pytest.raises(ValueError, match='unscaled is one of "a", "b", "c", but it is'):
        check.unscaled("d")
    FIRST.clear()


def test_what_is_to_be_mended_is_not_told():
    asked = EXERCISES["rnn_backward"]
    given = wrong(asked, next(m for m in asked.mistakes if m.name == asked.broken))
    verdict = check.rnn_backward(given)
    assert verdict.names == (asked.broken,) and asked.broken not in str(verdict) and "still in it" in str(verdict)


def test_the_hidden_property_says_nothing():
    verdict = attempt(EXERCISES["tempered_backward"], lambda dweights, cache: (cache[0], cache[1]), hidden=True)
    hidden = next(mark for mark in verdict.marks if mark.hidden)
    assert (
        not hidden.passed
        and hidden.said
        and hidden.said not in str(verdict)
        and hidden.said not in verdict._repr_html_()
    )


def test_points_for_nbgrader(capsys):
    assert check.tempered.points_of(tempered, 10) == 10.0
    assert check.tempered.points_of(unwritten, 10) == 0.0
    points = check.tempered.points_of(lambda scores, temperature: 2 * tempered(scores, temperature), 10)
    assert type(points) is float and 0 < points < 5 and "tempered: OK" in capsys.readouterr().out


def test_one_array_is_not_taken_for_two_results():
    """Two rows, where two arrays of other shapes are expected; an array of both results is as good as a tuple."""
    like = np.zeros((2, 4)), np.zeros((2, 3, 4))
    assert isinstance(as_arrays(np.ones((2, 4)), like), np.ndarray)
    both = as_arrays(np.ones((2, 3)), (np.zeros(3), np.zeros(3)))
    assert isinstance(both, tuple) and len(both) == 2
