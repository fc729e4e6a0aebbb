"""Which mistake is it? The solution with one mistake after the other is run at the same numbers, and results compared.

What a function returns in one case is a dict of arrays by path, or the name of its error where it raises.
"""

import copy

import numpy as np

from minattn import tree
from minattn.classroom import properties
from minattn.classroom.solutions import reference, wrong

ALIKE = 1e-7  # two results are one, relative to the largest number
SEEDS = 3  # how many draws a mistake is compared on, beside the extremes


def diagnose(trial):
    """-> the names of the mistakes that give the same results, and a sentence for each.

    First one mistake that explains everything; then one that explains the usual cases, where something else goes wrong
    with the extremes; then several, each in results of its own. Where none is known, what the gradient checker's rules
    say of the numbers.
    """
    exercise = trial.exercise
    draws = [trial.cases(trial.rng(100 + seed)) for seed in range(SEEDS)]
    usual, extremes = [cases[0] for cases in draws], [case for cases in draws for case in cases[1:]]

    def everywhere(function):
        return [result(function, trial, case) for case in (*usual, *extremes)]

    found, right = everywhere(trial.watch), everywhere(trial.as_function(reference(exercise)))
    mistaken = [(mistake, everywhere(trial.as_function(wrong(exercise, mistake)))) for mistake in exercise.mistakes]
    for some in (slice(None), slice(len(usual))):
        for mistake, bad in mistaken:
            if same_everywhere(found[some], bad[some]) and not same_everywhere(bad[some], right[some]):
                return (mistake.name,), (f"{mistake.name}. {mistake.why}",)
    alone, explained, off = [], set(), _parts_that_differ(found, right)
    for whole in (True, False):  # in the end one that shows in some results, where the rest are wrong anyway
        for mistake, bad in mistaken:
            shown, agree = _parts_that_differ(bad, right), _parts_that_agree(found, bad)
            here = shown & agree
            if here and not here & explained and (shown <= agree if whole else shown - agree <= off):
                alone.append(mistake)
                explained |= here
    if alone or not (exercise.given or exercise.mechanism):
        return tuple(m.name for m in alone), tuple(f"{m.name}. {m.why}" for m in alone)
    try:
        likely = trial.report(trial.drawn, diagnose=True).likenesses
    except Exception:  # what came back cannot be checked, which the marks have said
        return (), ()
    return tuple(x.name for x in likely), tuple(f"{x.name} ({', '.join(x.arrays)}). {x.why}" for x in likely)


def result(function, trial, case):
    """What a function returns in one case."""
    try:
        returned = function(*copy.deepcopy(trial.arguments(case)))
        return {path: np.asarray(leaf) for path, leaf in tree.leaves(returned)}
    except Exception as error:
        return type(error).__name__


def same_everywhere(found, expected):
    """The same in all cases, not by raising alone."""
    pairs = list(zip(found, expected, strict=True))
    if any(isinstance(a, str) != isinstance(b, str) for a, b in pairs):
        return False
    arrays = _arrays(pairs)
    return bool(arrays) and all(a.keys() == b.keys() and all(_same(a[p], b[p]) for p in a) for a, b in arrays)


def _parts_that_differ(found, expected):
    """The results, by path, that are wrong in some case."""
    pairs = _arrays(zip(found, expected, strict=True))
    return {path for a, b in pairs for path in b if path not in a or not _same(a[path], b[path])}


def _parts_that_agree(found, expected):
    """The results, by path, that are the same in every case."""
    pairs = _arrays(zip(found, expected, strict=True))
    paths = set.intersection(*(a.keys() & b.keys() for a, b in pairs)) if pairs else set()
    return {path for path in paths if all(_same(a[path], b[path]) for a, b in pairs)}


def _arrays(pairs):
    """Those cases in which neither raises."""
    return [(a, b) for a, b in pairs if not isinstance(a, str) and not isinstance(b, str)]


def _same(found, expected):
    return properties.error(found, expected) <= ALIKE
