"""Look: which way the numbers of an attention map are to be read."""

from minattn.classroom.exercise import Prediction

EXERCISES = (
    Prediction(
        "first_look",
        "00",
        "the map tells how much each letter is used in all",
        right="b",
        replies={
            "a": "Tempting, since every letter is there to be read. But a letter has nothing to share out: three "
            "sounds may look at it, or none. It is the sound that looks, and its row that sums to 1.",
            "b": "Yes. Every sound shares out the same amount of looking, 1 in all, among the letters. So a row says "
            "where the reader looked for this sound, and no row can be brighter than the others as a whole. What a "
            "column sums to nobody has laid down.",
            "c": "Tempting, since bright looks like important. But a square is a share of the looking that belongs to "
            "one sound, and shares sum to 1: a letter gets brighter only where others of the same row get darker.",
        },
    ),
)
