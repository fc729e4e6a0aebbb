"""The vendored digits are what they say they are, and the loader names what is wrong with other files."""

import sys
import zipfile

import numpy as np
import pytest

from minattn import weights
from minattn.data import digits, make_digits


@pytest.fixture(scope="module")
def real():
    return digits.load()


def test_what_is_there(real):
    assert digits.DATA.stat().st_size < 100_000
    assert real.images.shape == (1797, 8, 8) and real.images.dtype == np.float64
    assert real.labels.shape == (1797,) and real.labels.dtype == np.int64
    assert real.images.min() == 0 and real.images.max() == 1
    assert (real.images * 16 == np.rint(real.images * 16)).all()
    assert np.bincount(real.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as UCI counts them
    assert len(np.unique(real.images.reshape(1797, 64), axis=0)) == 1797


def test_the_file_says_where_it_comes_from():
    _, about = weights.load(digits.DATA)
    assert "Alpaydin" in about["about"] and about["scikit-learn"] in about["about"]


@pytest.mark.parametrize("seed", [None, 3])
def test_split(real, seed):
    train, test = digits.split(seed)
    assert len(train.labels) == 1287 and len(test.labels) == 510
    rows = np.concatenate([part.images.reshape(-1, 64) for part in (train, test)])
    labels = np.concatenate([train.labels, test.labels])
    same = (rows == real.images.reshape(1797, 64)).all()
    assert same == (seed is None)
    as_columns = np.column_stack([rows, labels])
    expected = np.column_stack([real.images.reshape(1797, 64), real.labels])
    assert (np.unique(as_columns, axis=0) == np.unique(expected, axis=0)).all()  # nothing twice, nothing lost
    for part in (train, test):
        assert part.images.dtype == np.float64 and part.labels.dtype == np.int64
        share = np.bincount(part.labels, minlength=10) / len(part.labels)
        assert abs(share - 0.1).max() < 0.03


def test_a_seed_repeats_and_another_differs():
    first, again, other = (digits.split(seed)[1] for seed in (0, 0, 1))
    assert (first.images == again.images).all() and (first.labels == again.labels).all()
    assert (first.images != other.images).any()


def nearest(train, test):
    """The share of test images whose nearest training image shows the same digit."""
    seen, asked = (part.images.reshape(-1, 64) for part in (train, test))
    distance = (seen**2).sum(axis=1) - 2 * asked @ seen.T
    return (train.labels[distance.argmin(axis=1)] == test.labels).mean()


def test_the_pitfall_is_real(real):
    cut = nearest(*digits.split())
    shuffled = np.mean([nearest(*digits.split(seed)) for seed in range(20)])
    assert cut == pytest.approx(0.961, abs=5e-4) and shuffled == pytest.approx(0.986, abs=5e-4)  # the docstring's
    begins = np.tile(np.arange(10), 2)
    assert (real.labels[digits.CUT :][:20] == begins).all()  # a form begins at the cut

    rows = real.images.reshape(1797, 64)
    distance = (rows**2).sum(axis=1) - 2 * rows @ rows.T
    np.fill_diagonal(distance, np.inf)
    apart = abs(distance.argmin(axis=1) - np.arange(1797))
    assert (apart <= 140).mean() == pytest.approx(0.59, abs=5e-3)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz is missing: .*make_digits"):
        digits.load(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "images is not in it"),
        ({"images": {"inner": np.zeros(4, np.uint8)}}, "'dict' object has no attribute 'dtype'"),
        ({"images": np.zeros((1797, 64), np.uint8)}, r"images is uint8 \(1797, 64\), expected uint8 \(1797, 8, 8\)"),
        ({"images": np.zeros((1797, 8, 8))}, "images is float64"),
        ({"images": np.full((1797, 8, 8), 17, np.uint8)}, "images goes up to 17, expected at most 16"),
        ({"labels": np.full(1797, 10, np.uint8)}, "labels goes up to 10, expected at most 9"),
        ({"labels": np.zeros(5, np.uint8)}, r"labels is uint8 \(5,\)"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, change, message):
    arrays, about = weights.load(digits.DATA)
    arrays = {name: array for name, array in (arrays | change).items() if array is not None}
    weights.save(path := tmp_path / "wrong.npz", arrays, about)
    with pytest.raises(ValueError, match=f"does not hold the handwritten digits, or it was damaged: {message}"):
        digits.load(path)


@pytest.mark.parametrize("size", [0, 100, 20_000, 45_000])
def test_a_file_cut_off_is_refused(tmp_path, size):
    path = tmp_path / "cut.npz"
    path.write_bytes(digits.DATA.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"does not hold the handwritten digits, or it was damaged: [^\n]+$"):
        digits.load(path)


def test_without_scikit_learn_the_script_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SystemExit, match="pip install scikit-learn"):
        make_digits.main(["--output", str(tmp_path / "made.npz")])
    assert not list(tmp_path.iterdir())


def test_a_bad_file_never_takes_the_place_of_a_good_one(monkeypatch, tmp_path):
    path = tmp_path / "made.npz"
    monkeypatch.setattr(make_digits, "build", lambda: weights.load(digits.DATA))
    make_digits.main(["--output", str(path)])
    before = path.read_bytes()
    monkeypatch.setattr(make_digits, "build", lambda: ({"labels": np.zeros(3, np.uint8)}, {}))
    with pytest.raises(ValueError, match="does not hold the handwritten digits"):
        make_digits.main(["--output", str(path)])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_vendored_file_is_what_the_script_makes(tmp_path):
    """Where the same version is installed: every member byte for byte, and the file where zlib packs as it did then."""
    _, about = weights.load(digits.DATA)
    try:
        version = make_digits.metadata.version("scikit-learn")
    except make_digits.metadata.PackageNotFoundError:
        pytest.skip("scikit-learn is not installed")
    if version != about["scikit-learn"]:
        pytest.skip("another version of scikit-learn made the file")
    make_digits.main(["--output", str(made := tmp_path / "made.npz")])
    assert members(made) == members(digits.DATA)
    weights.save(packed := tmp_path / "packed.npz", *weights.load(digits.DATA))
    if packed.read_bytes() == digits.DATA.read_bytes():
        assert made.read_bytes() == digits.DATA.read_bytes()


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: (info.date_time, archive.read(info)) for info in archive.infolist()}
