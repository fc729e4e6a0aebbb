"""Encoder and decoder: targets without a shift, and a memory that every layer asks."""

from minattn.classroom.exercise import Exercise, Mistake, Prediction, sizes


def _asked(rng):
    B, T, S, M, L = sizes(rng, "BTSML")
    return {
        "written": rng.normal(size=(B, T, M)),
        "memory": rng.normal(size=(B, S, M)),
        "W_key": rng.normal(size=(L, M, M)) / 2,
    }


EXERCISES = (
    Prediction(
        "unshifted",
        "12",
        "a causal mask does the work of the shift",
        right="c",
        replies={
            "a": "The mask hides later steps, not the step itself: row t may look at itself, and the residual carries "
            "what it was given to the end anyway. What it was given is the answer, so the loss falls to nearly 0.",
            "b": "The loss does fall to nearly 0, but it is the loss of another task, to say what one is told. Nothing "
            "was learned of the letters, and when it writes by itself nobody tells it.",
            "c": "Yes. At each step it is given the answer, so it learns to say what it is given, and need not look at "
            "the letters at all. Writing by itself it is given what it has just said, which answers nothing.",
        },
    ),
    Exercise(
        "memory_backward",
        "12",
        "an array used in several places has one gradient",
        _asked,
        hints=(
            "The check says which of the three gradients is wrong; the other two are right as they are. In how many "
            "places did forward use that array?",
            "Count the uses in one round of the loop in forward, and how many rounds there are. In backward each use "
            "sends something back. Which of them has computed its part and then not delivered it?",
            "The comment above the last lines names one forward line with two inputs. One of them gets its gradient; "
            "the other gets dkey through the same matrix, transposed, and it is added to what it has.",
        ),
        mistakes=(
            Mistake(
                "the memory hears its values alone",
                {"dvalue + dkey @ W_key[layer].T": "dvalue"},
                "The memory was given as keys and as values: it hears both.",
            ),
            Mistake(
                "the memory hears its keys alone",
                {"dvalue + dkey @ W_key[layer].T": "dkey @ W_key[layer].T"},
                "The memory was given as keys and as values: it hears both.",
            ),
            Mistake(
                "the memory hears one layer alone",
                {"dmemory += ": "dmemory = "},
                "Every layer asked the one memory, so what they send back is added; assigned, the last to come "
                "takes the place of all others.",
            ),
            Mistake(
                "W_key is passed over on the way to the memory",
                {"dkey @ W_key[layer].T": "dkey"},
                "The keys are the memory times a matrix, so their gradient goes back through that matrix.",
            ),
            Mistake(
                "W_key is not transposed in backward",
                {"dkey @ W_key[layer].T": "dkey @ W_key[layer]"},
                "A product with a matrix goes back through its transpose. The matrix is square, so no shape tells.",
            ),
            Mistake(
                "the memory's gradients are averaged over the layers",
                {"dvalue + dkey @ W_key[layer].T": "(dvalue + dkey @ W_key[layer].T) / len(W_key)"},
                "Each use moves the result by itself: gradients add up, however many there are.",
            ),
            Mistake(
                "the residual is dropped in backward",
                {"dwritten = dwritten + dscores @ key": "dwritten = dscores @ key"},
                "x goes around the function as well as through it: the way around hands the gradient on as it is.",
            ),
        ),
        given="ask_the_memory",
        broken="the memory hears its values alone",
    ),
)
