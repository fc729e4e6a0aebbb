"""Images: what an order of patches means, and how an image is cut into them."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes


def _images(rng):
    B, rows, columns, P, C = sizes(rng, "BTSEH")
    return {"images": rng.normal(size=(B, rows * P, columns * P, C)), "P": P}


def _all_there(trial):
    found = np.asarray(trial.call())
    same = np.array_equal(np.sort(found.ravel()), np.sort(trial.drawn["images"].ravel()))
    return "" if same else "some numbers of the images are missing, or there twice"


def _one_square_each(trial):
    images, P = trial.drawn["images"], trial.drawn["P"]
    _, height, width, _ = images.shape
    number = np.arange(height // P * (width // P)).reshape(height // P, width // P)  # of the patch of each pixel
    numbers = np.zeros_like(images) + np.kron(number, np.ones((P, P)))[..., None]
    found = np.asarray(trial.call({"images": numbers, "P": P}))
    if (found != found[..., :1]).any():
        return "a patch holds pixels that are not of one square"
    ordered = (found[..., 0] == np.arange(number.size)).all()
    return "" if ordered else f"the second patch is the one that should be number {int(found[0, 1, 0]) + 1}"


def _one_pixel_each(trial):
    images = trial.drawn["images"]
    found = np.asarray(trial.call({"images": images, "P": 1}))
    expected = images.reshape(images.shape[0], -1, images.shape[-1])
    return "" if np.array_equal(found, expected) else "with P = 1 the patches should be the pixels, row by row"


def _one_patch(trial):
    images = trial.drawn["images"]
    P = min(images.shape[1:3])
    images = images[:, :P, :P]
    found = np.asarray(trial.call({"images": images, "P": P}))
    same = np.array_equal(found, images.reshape(len(images), 1, -1))
    return "" if same else "one patch as large as the image should be its pixels row by row, each with its C numbers"


EXERCISES = (
    Prediction(
        "shuffled_patches",
        "16",
        "attention knows where things are without being told",
        right="a",
        replies={
            "a": "Yes. Each patch finds the same others as before, and the last query takes an average, which knows no "
            "order: without places an image is a bag of patches (lesson 09).",
            "b": "It has, but nothing in the model knows what a neighbour is: every patch is compared with every "
            "patch by what they hold, and an average does not know an order either. The scores stay the same.",
            "c": "The matrices were trained with places, so the model reads badly without them. But one matrix serves "
            "all patches, and it is not told which patch it is given. The scores stay the same.",
        },
    ),
    Exercise(
        "patches",
        "16",
        "a reshape cuts an image into squares",
        _images,
        (
            Property("every number is there once", _all_there),
            Property("each patch is one square, row by row", _one_square_each),
            Property("P = 1 gives the pixels", _one_pixel_each),
            Property("one patch as large as the image", _one_patch),
        ),
        hints=(
            "A reshape never moves a number: it cuts what lies in memory in a row. The two rows of a patch do not lie "
            "one behind the other there. So something has to be moved in between.",
            "First split height into (how many patches, P), and width too: six axes. Then bring the two axes that "
            "count patches together, and the two that count pixels of a patch. Then join.",
            "After the split the axes are 0 B, 1 row of patches, 2 row within, 3 column of patches, 4 column within, "
            "5 C. Only two neighbours among them have to change places.",
        ),
        mistakes=(
            Mistake(
                "a reshape alone",
                {"cut.transpose(0, 1, 3, 2, 4, 5)": "cut"},
                "A reshape cuts rows into pieces; it does not bring together the rows of one square.",
            ),
            Mistake(
                "the patches are read column by column",
                {"(0, 1, 3, 2, 4, 5)": "(0, 3, 1, 2, 4, 5)"},
                "Each patch is right, but their order is from top to bottom first: places learned for one patch go to "
                "another.",
            ),
            Mistake(
                "the pixels of a patch are read column by column",
                {"(0, 1, 3, 2, 4, 5)": "(0, 1, 3, 4, 2, 5)"},
                "The patches come in the right order, but each of them is turned about its diagonal.",
            ),
            Mistake(
                "the whole image is turned about its diagonal",
                {"(0, 1, 3, 2, 4, 5)": "(0, 3, 1, 4, 2, 5)"},
                "Patches, and the pixels within them, are read from top to bottom first; both go row by row.",
            ),
            Mistake(
                "the colours are taken apart",
                {"(0, 1, 3, 2, 4, 5)": "(0, 1, 3, 5, 2, 4)"},
                "The C numbers of a pixel stay side by side here; other libraries have channels first.",
            ),
            Mistake(
                "rows and columns of patches change places in the cut",
                {"reshape(B, rows, P, columns, P, C)": "reshape(B, columns, P, rows, P, C)"},
                "Height is cut into rows of patches, and width into columns: if the image is not square, the cuts go "
                "through the wrong places.",
            ),
            Mistake(
                "pixels that lie far apart in one patch",
                {
                    "reshape(B, rows, P, columns, P, C)": "reshape(B, P, rows, P, columns, C)",
                    "(0, 1, 3, 2, 4, 5)": "(0, 2, 4, 1, 3, 5)",
                },
                "Height is (how many patches, P), in this order: the first part counts slowly, the second within a "
                "patch. The other way round a patch takes one pixel here and the next far away.",
            ),
        ),
    ),
)
