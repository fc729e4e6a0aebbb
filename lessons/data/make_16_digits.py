"""Make `16_vit.npz` and `16_seeds.json`: the Vision Transformer of lesson 16, and what other seeds give.

python lessons/data/make_16_digits.py      about two minutes on a quiet core

Both models are trained as `python -m minattn classify digits` trains them: 900 updates of 64 digits, each moved by at
most one pixel. The file of parameters holds the Vision Transformer of seed 0 in float16.
"""

import json
import time
from pathlib import Path

import numpy as np

from minattn import classify, optim, training, tree
from minattn.weights import save

SEEDS = 0, 1, 2
HERE = Path(__file__).parent


def main():
    results = {}
    for seed in SEEDS:
        task = classify.TASKS["digits"](seed)
        for name, model in task.models.items():
            params, losses = fit(name, model, task, seed)
            if model.sizes.get("L") and seed == 0:
                settings = {"seed": seed, "sizes": model.sizes, "updates": model.updates, "losses": losses}
                save(HERE / "16_vit.npz", tree.astype(params, np.float16), settings)
            answers, _ = classify.answer(model.op, params, task.test.inputs)
            found = results.setdefault(name, {"updates": model.updates, "parameters": 0, "wrong": []})
            found["parameters"] = sum(leaf.size for _, leaf in tree.leaves(params))
            found["wrong"].append(int((answers != task.test.labels).sum()))
            print(f"  {found['wrong'][-1]} of {len(answers)} wrong", flush=True)
    about = {"made by": "lessons/data/make_16_digits.py", "seeds": SEEDS, "test": len(answers), "models": results}
    (HERE / "16_seeds.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def fit(name, model, task, seed):
    """As `classify.train`, saying less -> params, the mean loss of every 50 updates."""
    rng, losses, begin = np.random.default_rng(seed), [], time.perf_counter()
    flat = optim.Flat(tree.astype(model.op.init(rng, V=10, **model.sizes), np.float32))
    for update, batch in zip(range(model.updates), task.batches(rng), strict=False):
        loss, grads = training.gradients(model.op, flat.params, (batch.inputs,), batch.labels)
        pace = optim.schedule(update, model.updates, peak=model.learning_rate, warm_up=40)
        flat.step(grads, learning_rate=pace, max_norm=1.0)
        losses.append(float(loss))
    print(
        f"{name}, seed {seed}: loss {np.mean(losses[-50:]):.3f} after {time.perf_counter() - begin:.0f} s", flush=True
    )
    return tree.map(np.copy, flat.params), [round(float(np.mean(losses[i : i + 50])), 4) for i in range(0, 900, 50)]


if __name__ == "__main__":
    main()
