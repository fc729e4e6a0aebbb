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

    def half(partial, **arrays):
        partial.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(npz.np, "savez_compressed", half)
    with pytest.raises(KeyboardInterrupt):
        save(path, {"a": np.zeros(1)})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.npz"]


def test_reserved_name(tmp_path):
    with pytest.raises(ValueError, match="may not be called 'settings'"):
        save(tmp_path / "x.npz", {"settings": np.ones(1)})


def test_bad_files_say_what_is_wrong(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    with pytest.raises(FileNotFoundError, match="x.npz does not exist"):
        load(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="not a file of parameters"):
        load(path)
    save(path, TREE)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="cut off"):
        load(path)
    np.savez(path, a=np.ones(2))
    with pytest.raises(ValueError, match="not a file of parameters"):
        load(path)
    np.savez(path, a=np.array([{}], dtype=object), settings=np.array("{}"))
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
