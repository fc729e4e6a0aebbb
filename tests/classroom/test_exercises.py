"""Every exercise: its solution is right, every mistake is caught and gets its own name, and nothing is missing."""

import re

import numpy as np
import pytest

from minattn.classroom import check, shelf
from minattn.classroom.diagnosis import result, same_everywhere
from minattn.classroom.exercises import CORE, EXERCISES
from minattn.classroom.solutions import BEGIN, cell, opened, reference, stub, wrong
from minattn.classroom.trial import Trial, attempt, predicted

LESSONS = sorted(shelf.BESIDE.glob("[0-9][0-9]_*.py"))
WRITTEN = {name: e for name, e in EXERCISES.items() if e.kind != "predict"}
PREDICTED = {name: e for name, e in EXERCISES.items() if e.kind == "predict"}
MISTAKES = [(name, mistake.name) for name, e in WRITTEN.items() for mistake in e.mistakes]


def mistake_of(name, mistake):
    return next(m for m in EXERCISES[name].mistakes if m.name == mistake)


def test_there_are_enough_of_every_kind():
    assert len(EXERCISES) >= 30 and len(CORE) == 12
    assert {e.kind for e in EXERCISES.values()} == {"predict", "forward", "backward", "mend", "mechanism"}
    assert {e.lesson for e in EXERCISES.values()} == {path.stem[:2] for path in LESSONS}
    assert all(e.kind in ("forward", "backward") for e in CORE.values())


@pytest.mark.parametrize("name", EXERCISES)
def test_it_stands_in_its_lesson(name):
    exercise = EXERCISES[name]
    text = next(path for path in LESSONS if path.stem.startswith(exercise.lesson)).read_text(encoding="utf-8")
    assert f"check.{name}({name})" in text and exercise.misconception and dir(check).count(name) == 1


@pytest.mark.parametrize("name", WRITTEN)
def test_the_solution_is_right(name):
    for seed in range(4):
        verdict = attempt(EXERCISES[name], reference(EXERCISES[name]), seed, hidden=True)
        assert verdict, verdict


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_is_caught_and_named(name, mistake):
    exercise = EXERCISES[name]
    bad = wrong(exercise, mistake_of(name, mistake))
    for seed, hidden in ((7, False), (8, True)):
        verdict = attempt(exercise, bad, seed, hidden)
        assert verdict.outcome == "WRONG" and verdict.names == (mistake,), verdict


@pytest.mark.parametrize("name", WRITTEN)
def test_no_two_mistakes_are_the_same(name):
    exercise = EXERCISES[name]
    trial = Trial(exercise, reference(exercise), 0)
    cases = [case for more in range(3) for case in trial.cases(trial.rng(more))]
    functions = [reference(exercise), *(wrong(exercise, mistake) for mistake in exercise.mistakes)]
    with np.errstate(all="ignore"):
        results = [[result(trial.as_function(f), trial, case) for case in cases] for f in functions]
    for i, one in enumerate(results):
        for other in results[:i]:
            assert not same_everywhere(one, other)


@pytest.mark.parametrize("name", WRITTEN)
def test_students_get_signature_docstring_and_no_solution(name):
    exercise = EXERCISES[name]
    given = opened(cell(exercise))
    names = {"np": np}
    import math

    exec(given, names | {"math": math}, names)
    assert BEGIN not in given and '"""' in given.split(name, 1)[1][:200]
    if exercise.kind == "mechanism":
        return
    verdict = attempt(exercise, names[name])
    if exercise.broken:
        assert verdict.names == (exercise.broken,)
    else:
        assert "raise NotImplementedError(" in given and verdict.outcome == "NOT IMPLEMENTED"


@pytest.mark.parametrize("name", WRITTEN)
def test_it_helps(name):
    exercise = EXERCISES[name]
    assert len({*exercise.hints}) == 3 and len(exercise.mistakes) >= (6 if exercise.core else 3)
    assert all(m.why.endswith(".") and not m.name.endswith(".") for m in exercise.mistakes)
    drawn = exercise.draw(np.random.default_rng(0))
    sizes = [n for x in drawn.values() if isinstance(x, np.ndarray) for n in x.shape]
    assert sizes and min(sizes) >= 1


@pytest.mark.parametrize("name", PREDICTED)
def test_every_answer_has_its_reply(name):
    exercise = EXERCISES[name]
    text = next(path for path in LESSONS if path.stem.startswith(exercise.lesson)).read_text(encoding="utf-8")
    assert exercise.right in exercise.replies and len(exercise.replies) >= 2
    assert stub(exercise, cell(exercise)).startswith(f"{name} = None  # ")
    prose = re.split(r"^# %%.*\n", text[: text.index(cell(exercise))], flags=re.MULTILINE)[-2]
    assert all(re.search(rf"^# - {letter}: ", prose, re.MULTILINE) for letter in exercise.replies), prose
    for letter, reply in exercise.replies.items():
        assert (
            predicted(exercise, letter).outcome == ("OK" if letter == exercise.right else "WRONG")
            and reply in predicted(exercise, letter).said
        )
