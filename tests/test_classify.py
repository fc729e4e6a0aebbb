"""Learning to recognise, in a test-sized form: every model learns, and looks where there is something to see."""

import json
import os

import numpy as np
import pytest

from minattn import classify
from minattn.__main__ import main


@pytest.mark.parametrize("task", classify.TASKS)
def test_end_to_end(tmp_path, capsys, task):
    assert main(["classify", task, "--quick", "--updates", "2", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    about = json.loads((tmp_path / f"{task}.json").read_text(encoding="utf-8"))
    for name, done in about["models"].items():
        assert f"{name}: {done['accuracy']:.1%} of {done['examples']} right" in out and done["updates"] == 2
    assert set(os.listdir(tmp_path)) == {f"{task}.json", f"{task}.png"}


def test_a_query_over_convolutions_learns_to_read():
    task = classify.written(0)
    model = task.models["convolutions and a query"]
    fitted = classify.train("digits", model, task, 0, 150)
    answers, weights = classify.answer(model.op, fitted.params, task.test.inputs)
    assert (answers == task.test.labels).mean() > 0.7
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_a_query_finds_the_word():
    task = classify.heard(0)
    model = task.models["LSTM and a query"]
    fitted = classify.train("spoken", model._replace(sizes=model.sizes | {"N": 16}), task, 0, 200)
    answers, weights = classify.answer(model.op, fitted.params, task.test.inputs)
    found = classify.on_the_word(weights, task.test.where)
    assert (answers == task.test.labels).mean() > 0.4
    assert found["attention_on_the_word"] > 2 * found["word"]


def test_images_are_moved_whole():
    images = np.zeros((200, 4, 5, 1))
    images[:, 2, 2] = np.arange(1, 201)[:, None]
    moved = classify.shifted(images, np.random.default_rng(0))
    assert moved.shape == images.shape and (moved.sum(axis=(1, 2, 3)) == np.arange(1, 201)).all()
    _, rows, columns, _ = moved.nonzero()
    assert set(rows) == set(columns) == {1, 2, 3}


def test_no_updates_is_refused(tmp_path, capsys):
    assert main(["classify", "digits", "--updates", "0", "--out", str(tmp_path)]) == 2
    assert "--updates must be at least 1 but is 0" in capsys.readouterr().err
