"""What holds for both formats, .npz and .safetensors."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from device import DeviceArray

from minattn import tree
from minattn.weights import files, headers, load, load_arrays, npz, save, save_arrays

SUFFIX = pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
PARAMS = {"a": np.arange(3.0), "deep": {"W": np.ones((2, 3), np.float32), "steps": np.array(4)}}
DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
GRID = np.arange(24).reshape(4, 6)
ARRAYS = {dtype: GRID.astype(dtype) for dtype in DTYPES} | {
    "no axis": np.array(2.5),
    "one": np.array([True]),
    "empty": np.zeros(0, np.float32),
    "no truth": np.zeros(0, bool),
    "empty inside": np.zeros((2, 0, 3)),
    "Fortran's order": np.asfortranarray(GRID * 1.0),
    "strided": (GRID * 1.0)[::2, 1::3],
    "backwards": (GRID * 1.0)[::-1, ::-1],
    "three axes turned": np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
    "broadcast": np.broadcast_to(np.arange(3.0), (4, 3)),
    "big-endian": GRID.astype(">f4"),
    "NaN": np.array([np.nan, np.inf, -np.inf, -0.0]),
}


def same(left, right):
    """Names, shapes, dtypes but for the order of their bytes, and the bits themselves."""
    assert left.keys() == right.keys()
    for name, x in left.items():
        y = right[name]
        assert x.shape == y.shape and x.dtype.newbyteorder("=") == y.dtype.newbyteorder("="), name
        np.testing.assert_array_equal(x.astype(y.dtype), y, strict=True)


@SUFFIX
def test_a_tree_and_its_settings(tmp_path, suffix):
    path, settings = tmp_path / "new folder" / f"x{suffix}", {"N": 64, "name": "é", "rates": [0.1, None]}
    save(path, PARAMS, settings)
    params, back = load(path)
    assert back == settings
    same(dict(tree.leaves(PARAMS)), dict(tree.leaves(params)))


@SUFFIX
def test_every_kind_of_array(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    for x in ARRAYS.values():
        x.flags.writeable = False
    save_arrays(path, ARRAYS)
    back = load_arrays(path)
    same(ARRAYS, back)
    assert all(x.flags.writeable and x.flags.aligned and type(x) is np.ndarray for x in back.values())


@SUFFIX
def test_what_lies_on_a_card(tmp_path, suffix):
    path, there = tmp_path / f"x{suffix}", tree.map(DeviceArray, PARAMS)
    save(path, there)
    same(dict(tree.leaves(PARAMS)), dict(tree.leaves(load(path)[0])))
    save_arrays(path, dict(tree.leaves(there)))
    same(dict(tree.leaves(PARAMS)), load_arrays(path))


@SUFFIX
def test_layers_stay_in_their_order(tmp_path, suffix):
    """Models go through them one after the other: 10 comes after 9, not after 1, and an empty one keeps its place."""
    path = tmp_path / f"x{suffix}"
    blocks = {str(l): {"W": np.full(2, l), "dot": {}} if l % 3 else {} for l in range(12)}
    save(path, {"z": np.ones(1), "blocks": blocks, "a": np.ones(1)})
    params, _ = load(path)
    assert list(params) == ["z", "blocks", "a"] and list(params["blocks"]) == [str(l) for l in range(12)]
    assert params["blocks"]["0"] == params["blocks"]["3"] == params["blocks"]["10"]["dot"] == {}
    assert [block["W"][0] for block in params["blocks"].values() if block] == [l for l in range(12) if l % 3]


@SUFFIX
def test_layers_of_which_none_is_empty_too(tmp_path, suffix):
    save(tmp_path / f"x{suffix}", {str(l): np.full(2, l) for l in range(12)})
    assert [x[0] for x in load(tmp_path / f"x{suffix}")[0].values()] == list(range(12))


@SUFFIX
def test_nothing_at_all(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    save(path, {})
    assert load(path) == ({}, {}) and load_arrays(path) == {}
    save_arrays(path, {})
    assert load_arrays(path) == {}


@SUFFIX
def test_the_same_content_is_the_same_bytes(tmp_path, suffix):
    for name in "ab":
        save(tmp_path / f"{name}{suffix}", PARAMS, {"N": 2})
        save_arrays(tmp_path / f"{name} flat{suffix}", ARRAYS)
    for kind in ("", " flat"):
        left, right = (tmp_path / f"{name}{kind}{suffix}" for name in "ab")
        assert left.read_bytes() == right.read_bytes()


@SUFFIX
def test_flat_and_tree_are_two_views_of_one_file(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    save(path, PARAMS, {"N": 2})
    same(dict(tree.leaves(PARAMS)), load_arrays(path))
    save_arrays(path, dict(tree.leaves(PARAMS)))
    with pytest.raises(ValueError, match=f"x{suffix} .* it has no settings: weights.load_arrays reads"):
        load(path)


@SUFFIX
def test_limit(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    save_arrays(path, {"a": np.ones(3), "b": np.ones(1)})
    assert load_arrays(path, limit=32).keys() == {"a", "b"}
    with pytest.raises(ValueError, match="it promises more than 31 bytes: if it is to be trusted, give a larger limit"):
        load_arrays(path, limit=31)
    save(path, {"a": np.ones(4)})
    with pytest.raises(ValueError, match="it promises more than 31 bytes"):
        load(path, limit=31)


@SUFFIX
def test_more_than_the_limit_may_be_written(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(files, "LIMIT", 16)
    save_arrays(tmp_path / f"x{suffix}", {"a": np.ones(3)})
    assert load_arrays(tmp_path / f"x{suffix}", limit=24).keys() == {"a"}


@SUFFIX
@pytest.mark.parametrize(
    "name", ["", ".", "..", "a..b", ".a", "a.", "a/b", "/a", "a\\b", "C:\\a", "a\0b", "a\nb", "\ud800", "x" * 256, 3]
)
def test_names_that_lead_elsewhere(tmp_path, suffix, name):
    with pytest.raises(ValueError, match="cannot be the name of an array: parts joined by dots"):
        save_arrays(tmp_path / f"x{suffix}", {"fine": np.ones(1), name: np.ones(1)})
    with pytest.raises(ValueError, match="no parameter can be called"):
        save(tmp_path / f"x{suffix}", {"fine": np.ones(1), name: {"x": np.ones(1)}})
    assert not list(tmp_path.iterdir())


@SUFFIX
def test_the_longest_name(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    save_arrays(path, {"x" * 255: np.ones(1), "a b.ü:0": np.ones(1)})
    assert load_arrays(path).keys() == {"x" * 255, "a b.ü:0"}


@SUFFIX
@pytest.mark.parametrize(
    "params, error, says",
    [
        ({"about": np.ones(1)}, ValueError, "no parameter can be called 'about'"),
        ({"a.b": np.ones(1)}, ValueError, "no parameter can be called 'a.b'"),
        ({"a": {"b": None}}, ValueError, "a.b is None"),
        ({"a": np.array([{}], dtype=object)}, TypeError, "a holds object: a file of parameters holds plain numbers"),
        ({"a": np.ones(1, complex)}, TypeError, "a holds complex128"),
        ({"a": np.array("text")}, TypeError, "a holds <U4"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(tmp_path, suffix, params, error, says):
    with pytest.raises(error, match=says):
        save(tmp_path / f"x{suffix}", params)
    assert not list(tmp_path.iterdir())


@SUFFIX
def test_settings_that_are_too_long_to_be_read_back(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"x{suffix}"
    save(path, PARAMS)
    before = path.read_bytes()
    monkeypatch.setattr(headers, "HEADER", 4096)
    with pytest.raises(ValueError, match=f"x{suffix} is not written, since it could not be read back: .*4,096"):
        save(path, PARAMS, {"words": ["word"] * 1000})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@SUFFIX
def test_a_save_that_is_interrupted_keeps_the_old_file(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"x{suffix}"
    save(path, PARAMS)
    before = path.read_bytes()

    def half(file, array, **options):
        file.write(b"half")
        raise KeyboardInterrupt

    def half_of_all(arrays, filename, metadata):
        filename.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(npz.np.lib.format, "write_array", half)
    monkeypatch.setattr("safetensors.numpy.save_file", half_of_all)
    for write in (save, save_arrays):
        with pytest.raises(KeyboardInterrupt):
            write(path, {"a": np.zeros(1)})
        assert path.read_bytes() == before and os.listdir(tmp_path) == [f"x{suffix}"]


@SUFFIX
def test_others_may_read_the_file_as_any_other(tmp_path, suffix):
    path, other = tmp_path / f"x{suffix}", tmp_path / "other"
    save_arrays(path, {"a": np.ones(1)})
    other.write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


@SUFFIX
def test_truth_that_is_neither(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    save_arrays(path, {"a": np.array([2, 1], np.uint8).view(bool)})
    with pytest.raises(ValueError, match="a is to be True or False, and is neither"):
        load_arrays(path)


@SUFFIX
def test_what_is_no_such_file(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    for read in (load, load_arrays):
        with pytest.raises(FileNotFoundError, match=f"x{suffix} does not exist"):
            read(path)
        for content in (b"", b"text", bytes(40), b"\xff" * 40):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=f"x{suffix} is not a file of parameters, or it was damaged: "):
                read(path)
        path.unlink()


def test_one_format_under_the_name_of_the_other(tmp_path):
    save_arrays(tmp_path / "x.npz", PARAMS["deep"])
    save_arrays(tmp_path / "y.safetensors", PARAMS["deep"])
    (tmp_path / "x.npz").rename(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").rename(tmp_path / "y.npz")
    with pytest.raises(ValueError, match="should begin with a header"):
        load_arrays(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="not a zip file"):
        load_arrays(tmp_path / "y.npz")


def test_safetensors_is_imported_only_when_it_is_needed(tmp_path):
    code = (
        "import sys, numpy; from minattn.weights import load, save; "
        "save(sys.argv[1], {'a': numpy.ones(1)}); load(sys.argv[1]); print('safetensors' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.npz")]
    found = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert found.stdout.strip() == "False"


def test_without_the_package(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_arrays(path, PARAMS["deep"])
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (lambda: load(path), lambda: load_arrays(path), lambda: save(path, PARAMS)):
        with pytest.raises(ModuleNotFoundError, match=r'safetensors: pip install "minattn\[weights\]"') as told:
            call()
        assert told.value.name == "safetensors"
    save(tmp_path / "x.npz", PARAMS)
    load(tmp_path / "x.npz")


def test_a_package_that_lacks_something_itself_says_what(tmp_path, monkeypatch):
    (tmp_path / "safetensors").mkdir()
    (tmp_path / "safetensors" / "__init__.py").write_text("import no_such_module\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "safetensors"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'"):
        save(tmp_path / "x.safetensors", PARAMS)
