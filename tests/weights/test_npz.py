import os
import zipfile

import numpy as np
import pytest

from minattn import tree
from minattn.weights import load, npz, save

TREE = {"a": np.arange(3.0), "deep": {"W": np.ones((2, 3), np.float32), "steps": np.array(4)}}


def test_round_trip(tmp_path):
    save(tmp_path / "new folder" / "x.npz", TREE, {"N": 64, "name": "é"})
    params, settings = load(tmp_path / "new folder" / "x.npz")
    assert settings == {"N": 64, "name": "é"}
    for (path, left), (other, right) in zip(tree.leaves(TREE), tree.leaves(params), strict=True):
        assert path == other and left.dtype == right.dtype and (left == right).all()


def test_a_save_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    save(path, TREE)
    before = path.read_bytes()

    def half(file, array, **options):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(npz.np.lib.format, "write_array", half)
    with pytest.raises(KeyboardInterrupt):
        save(path, {"a": np.zeros(1)})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.npz"]


def test_the_same_content_is_the_same_bytes(tmp_path):
    save(tmp_path / "a.npz", TREE)
    save(tmp_path / "b.npz", TREE)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_empty_subtrees_and_awkward_names_come_back(tmp_path):
    tree = {"attention": {}, "deep": {"none": {}}, "file": np.ones(2), "allow_pickle": np.zeros(1), "args": np.ones(1)}
    save(tmp_path / "without suffix", tree)
    params, _ = load(tmp_path / "without suffix")
    assert params.keys() == tree.keys() and params["attention"] == {} and params["deep"] == {"none": {}}
    assert (params["file"] == 1).all()


@pytest.mark.parametrize(
    "params, error, says",
    [
        ({"about": np.ones(1)}, ValueError, "no parameter can be called 'about'"),
        ({"a.b": np.ones(1)}, ValueError, "no parameter can be called 'a.b'"),
        ({"a": {"b": None}}, ValueError, "a.b is None"),
        ({"a": np.array([{}], dtype=object)}, TypeError, "a holds object: a file of parameters holds plain numbers"),
        ({"a": np.ones(1, complex)}, TypeError, "a holds complex128"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(tmp_path, params, error, says):
    with pytest.raises(error, match=says):
        save(tmp_path / "x.npz", params)
    assert not list(tmp_path.iterdir())


def test_damaged_files_give_one_sentence(tmp_path):
    path, rng = tmp_path / "x.npz", np.random.default_rng(0)
    save(path, TREE)
    whole = path.read_bytes()
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            load(path)
        except ValueError as error:
            assert "is not a file of parameters, or it was damaged" in str(error)
            refused += 1
    assert refused > 100


def test_bad_files_say_what_is_wrong(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    with pytest.raises(FileNotFoundError, match="x.npz does not exist"):
        load(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="not a file of parameters"):
        load(path)
    save(path, TREE)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="or it was damaged"):
        load(path)
    np.savez(path, a=np.ones(2))
    with pytest.raises(ValueError, match="not a file of parameters"):
        load(path)
    np.savez(path, a=np.array([{}], dtype=object), about=np.array("{}"))
    with pytest.raises(ValueError, match="holds object, where only numbers are expected"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"text")
    with pytest.raises(ValueError, match="a.npy is not an array"):
        load(path)
    save(path, TREE)
    monkeypatch.setattr(npz, "LIMIT", 16)
    with pytest.raises(ValueError, match="promises more than 16 bytes"):
        load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path):
    path = tmp_path / "x.npz"
    save(path, TREE)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a.npy", b"other")
    with pytest.raises(ValueError, match="holds a name twice"):
        load(path)
