"""Make 15_digits.npz: a query over two convolutions, trained on the written digits.

python lessons/data/make_15_digits.py

The model and the training of `python -m minattn classify digits` with seed 0; ten seconds on a quiet core.
"""

from pathlib import Path

from minattn import classify
from minattn.weights import save

NAME = "convolutions and a query"


def main():
    task = classify.written(0)
    model = task.models[NAME]
    print(f"{NAME}: {model.updates} updates on digits of 8 x 8 pixels")
    fitted = classify.train(NAME, model, task, 0, model.updates)
    answers, _ = classify.answer(model.op, fitted.params, task.test.inputs)
    path = Path(__file__).with_name("15_digits.npz")
    save(path, fitted.params, {"updates": model.updates, "seed": 0})
    print(f"{(answers == task.test.labels).mean():.1%} of {len(answers)} right; {path}")


if __name__ == "__main__":
    main()
