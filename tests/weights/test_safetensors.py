import json
import struct

import numpy as np
import pytest
import safetensors.numpy

from minattn.weights import load, load_arrays, save, save_arrays
from minattn.weights import safetensors as room

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b.c": np.arange(2), "d": np.array(True)}
A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
B = {"dtype": "I64", "shape": [1], "data_offsets": [8, 16]}


def made(header, data=bytes(16)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_what_others_wrote(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(ARRAYS, path, metadata={"format": "pt", "anything": "{"})
    back = load_arrays(path)
    assert back.keys() == ARRAYS.keys()
    for name, x in ARRAYS.items():
        np.testing.assert_array_equal(back[name], x, strict=True)


def test_others_read_what_we_wrote(tmp_path):
    path = tmp_path / "x.safetensors"
    for write, arrays in (
        (save_arrays, ARRAYS),
        (save, {"a": ARRAYS["a"], "b": {"c": ARRAYS["b.c"]}, "d": ARRAYS["d"]}),
    ):
        write(path, arrays)
        back = safetensors.numpy.load_file(path)
        assert back.keys() == ARRAYS.keys() and all((back[name] == x).all() for name, x in ARRAYS.items())


def test_what_stands_beside_the_arrays(tmp_path):
    """Of a tree our settings; of others' arrays what Transformers looks for, which otherwise reads no such file."""
    path = tmp_path / "x.safetensors"
    save(path, {"a": np.ones(1), "none": {}}, {"N": 2})
    with safetensors.safe_open(path, "np") as file:
        about = {"settings": {"N": 2}, "empty": ["none"], "order": ["a", "none"]}
        assert json.loads(file.metadata().pop("minattn")) == about and len(file.metadata()) == 1
    save_arrays(path, ARRAYS)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_files_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    path, tensors = tmp_path / "x.safetensors", {"layer.weight": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}
    save_file(tensors, path)
    back = load_arrays(path)
    assert all((back[name] == x.numpy()).all() and back[name].shape == tuple(x.shape) for name, x in tensors.items())
    save_arrays(path, back)
    assert all(torch.equal(load_file(path)[name], x) for name, x in tensors.items())
    save_file({"a": torch.ones(2, dtype=torch.bfloat16)}, path)
    with pytest.raises(ValueError, match="a is bfloat16, which NumPy does not have: save the model as float32$"):
        load_arrays(path)
    save_file({"a": torch.ones(2).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(ValueError, match="a is float8, F8_E4M3, which NumPy does not have"):
        load_arrays(path)


def test_the_order_in_the_header_does_not_matter(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(made({"b": B, "a": A}, np.array([1, 2], "<f4").tobytes() + np.array([3]).tobytes()))
    back = load_arrays(path)
    assert list(back) == ["a", "b"] and back["a"].tolist() == [1, 2] and back["b"].tolist() == [3]


def test_room_after_the_header_and_empty_arrays(tmp_path):
    path = tmp_path / "x.safetensors"
    empty = {"dtype": "F64", "shape": [0, 3], "data_offsets": [8, 8]}
    text = json.dumps({"__metadata__": {}, "a": A, "none": empty, "neither": empty, "b": B}).encode()
    path.write_bytes(made(text + b" " * 30))
    assert list(load_arrays(path)) == ["a", "none", "neither", "b"]
    path.write_bytes(made({"b": B, "none": empty, "neither": empty, "a": A}))
    assert {name: x.shape for name, x in load_arrays(path).items()} == {
        "a": (2,), "none": (0, 3), "neither": (0, 3), "b": (1,)
    }  # fmt: skip


NESTED = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
TWICE = b'{"a": %(a)s, "b": %(b)s, "a": %(a)s}' % {b"a": json.dumps(A).encode(), b"b": json.dumps(B).encode()}
BAD = {
    "no JSON": (b"{'a': 1}", "Expecting property name"),
    "not text": (b'{"\xff": 1}', "can't decode byte 0xff"),
    "no dict": ([A], r"its header is \[{'data_offsets'"),
    "deep": (NESTED, "its JSON is nested too deep"),
    "twice": (TWICE, "its JSON says 'a' twice"),
    "twice inside": (b'{"a": {"dtype": "F32", "dtype": "F32"}}', "its JSON says 'dtype' twice"),
    "metadata": ({"a": A, "b": B, "__metadata__": {"N": 2}}, "its __metadata__ is {'N': 2}, where texts"),
    "metadata is a list": ({"a": A, "b": B, "__metadata__": []}, r"its __metadata__ is \[\], where texts"),
    "entry": ({"a": A, "b": 3}, "b is 3, where dtype, shape and data_offsets are expected"),
    "missing key": ({"a": A, "b": {"dtype": "F32", "shape": [2]}}, "b is {'dtype': .*, where dtype, shape"),
    "another key": ({"a": A, "b": B | {"code": "x"}}, "b is {'code'.*, where dtype, shape"),
    "bfloat16": ({"a": A | {"dtype": "BF16"}}, "a is bfloat16, which NumPy does not have: save the model as float32"),
    "float8": ({"a": A | {"dtype": "F8_E5M2"}}, "a is float8, F8_E5M2, which NumPy does not have"),
    "float8 in two lines": ({"a": A | {"dtype": "F8\n_E"}}, "a is float8, F8 _E, which NumPy does not have"),
    "unknown dtype": ({"a": A | {"dtype": "G32"}}, "a is 'G32', where one of BOOL, F16, F32, F64, I8"),
    "complex": ({"a": A | {"dtype": "C64"}}, "a is 'C64', where one of BOOL"),
    "dtype of no text": ({"a": A | {"dtype": ["F32"]}}, r"a is \['F32'\], where one of"),
    "shape of no list": ({"a": A | {"shape": 2}}, "a has the shape 2, where up to 64 integers from 0"),
    "negative": ({"a": A | {"shape": [-2, -1]}}, r"a has the shape \[-2, -1\]"),
    "a float": ({"a": A | {"shape": [2.0]}}, r"a has the shape \[2.0\]"),
    "a truth": ({"a": A | {"shape": [2, True]}}, r"a has the shape \[2, True\]"),
    "NaN": (b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}', r"a has the shape \[nan\]"),
    "65 axes": ({"a": A | {"shape": [1] * 64 + [2]}}, r"a has the shape \[1, 1.*\.\.\.\], where up to 64"),
    "many digits": (b'{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, 8]}}' % (b"9" * 5000), "4300"),
    "huge": ({"a": A | {"shape": [2**40], "data_offsets": [0, 2**42]}}, "it promises more than 1,073,741,824 bytes"),
    "huge product": ({"a": A | {"shape": [2**62, 2**62]}}, "it promises more than 1,073,741,824 bytes"),
    "huge and empty": ({"a": A | {"shape": [0, 2**62], "data_offsets": [0, 0]}}, "it promises more than"),
    "huge together": ({n: A | {"shape": [2**27]} for n in "abc"}, "it promises more than 1,073,741,824 bytes"),
    "three offsets": ({"a": A | {"data_offsets": [0, 8, 16]}}, r"a has the data_offsets \[0, 8, 16\]"),
    "offsets of no list": ({"a": A | {"data_offsets": {"0": 8}}}, "a has the data_offsets {'0': 8}"),
    "a float for an offset": ({"a": A | {"data_offsets": [0, 8.0]}}, r"a has the data_offsets \[0, 8.0\]"),
    "a truth for an offset": ({"a": A | {"data_offsets": [False, 8]}}, r"a has the data_offsets \[False, 8\]"),
    "a hole": ({"a": A, "b": B | {"data_offsets": [12, 20]}}, "b begins at byte 12, .* ends at 8: a hole or"),
    "an overlap": ({"a": A, "b": B | {"data_offsets": [4, 12]}}, "b begins at byte 4, .* ends at 8: .* an overlap"),
    "a hole before": ({"b": B}, "b begins at byte 8, .* ends at 0"),
    "a negative offset": ({"a": A | {"data_offsets": [-8, 0]}}, "a begins at byte -8"),
    "backwards": ({"a": A | {"data_offsets": [0, -8]}}, r"a has -8 bytes, and float32 \(2,\) needs 8"),
    "too few bytes": ({"a": A | {"data_offsets": [0, 4]}}, r"a has 4 bytes, and float32 \(2,\) needs 8"),
    "beyond the end": (
        {"a": A, "b": B | {"data_offsets": [8, 24], "shape": [2]}},
        "end at byte 24 and its numbers at 16",
    ),
    "bytes that nobody has": ({"a": A}, "its arrays end at byte 8 and its numbers at 16"),
    "a slash": ({"../a": A, "b": B}, "'../a' cannot be the name of an array"),
    "no name": ({"": A, "b": B}, "'' cannot be the name of an array"),
    "half a letter": (b'{"\\ud800": 1}', r"'\\ud800' cannot be the name of an array"),
}


@pytest.mark.parametrize("header, says", BAD.values(), ids=BAD)
def test_a_header_that_is_wrong(tmp_path, header, says):
    path = tmp_path / "x.safetensors"
    path.write_bytes(made(header))
    for read in (load, load_arrays):
        with pytest.raises(ValueError, match=says) as told:
            read(path)
        assert str(told.value).startswith(f"{path} is not a file of parameters, or it was damaged: ")
        assert "\n" not in str(told.value) and len(str(told.value)) < len(str(path)) + 300


@pytest.mark.parametrize("length", [0, 1, 10**3, 2**31, 2**63, 2**64 - 1])
def test_a_length_that_is_wrong(tmp_path, length):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + made({"a": A, "b": B})[8:])
    with pytest.raises(ValueError, match="x.safetensors is not a file of parameters"):
        load_arrays(path)


def test_a_header_that_is_too_long(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(made(json.dumps({"a": A, "b": B}).encode().ljust(2**22)))
    assert load_arrays(path).keys() == {"a", "b"}
    path.write_bytes(made(json.dumps({"a": A, "b": B}).encode().ljust(2**22 + 1)))
    with pytest.raises(ValueError, match="header of 4,194,305, of which at most 4,194,304 are read"):
        load_arrays(path)


ABOUT = {
    "no JSON": ("{", "Expecting property name"),
    "no dict": ("[]", r"its settings are \[\], which weights.save does not write"),
    "only a number": ("3", "its settings are 3, which weights.save does not write"),
    "only a text": ('"settings"', "its settings are 'settings', which weights.save does not write"),
    "no settings": ('{"empty": []}', "its settings are {'empty': .*, which weights.save does not write"),
    "no list": ('{"settings": {}, "empty": "a"}', "which weights.save does not write"),
    "nothing of empty": ('{"settings": {}}', "which weights.save does not write"),
    "leads elsewhere": ('{"settings": {}, "empty": ["../x"]}', "which weights.save does not write"),
    "a number": ('{"settings": {}, "empty": [3]}', "which weights.save does not write"),
    "twice": ('{"settings": {}, "settings": {}, "empty": []}', "its JSON says 'settings' twice"),
    "deep": ('{"settings": ' + "[" * 10**5 + "]" * 10**5 + ', "empty": []}', "its JSON is nested too deep"),
    "empty and full": ('{"settings": {}, "empty": ["b"]}', "b is there twice"),
    "empty, then full": (
        '{"settings": {}, "empty": ["b"], "order": ["b", "a", "b.c", "d"]}',
        "b.c stands below an array, or in an empty dict",
    ),
    "array and empty": ('{"settings": {}, "empty": ["a.b"]}', "a.b stands below an array, or in an empty dict"),
    "there as well": ('{"settings": {}, "empty": ["a"]}', "list other names"),
    "empty twice": ('{"settings": {}, "empty": ["x", "x"]}', "list other names"),
    "order": ('{"settings": {}, "empty": [], "order": ["a", "b.c"]}', "its settings list other names than it holds"),
    "order of nothing": ('{"settings": {}, "empty": [], "order": 3}', "its settings list other names than it holds"),
}


@pytest.mark.parametrize("about, says", ABOUT.values(), ids=ABOUT)
def test_settings_that_are_wrong(tmp_path, about, says):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(ARRAYS, path, {"minattn": '{"settings": {"N": 2}, "empty": ["e"]}'})
    params, settings = load(path)
    assert params.keys() == {"a", "b", "d", "e"} and params["e"] == {} and settings == {"N": 2}
    safetensors.numpy.save_file(ARRAYS, path, {"minattn": about})
    assert load_arrays(path).keys() == ARRAYS.keys()
    with pytest.raises(ValueError, match=says) as told:
        load(path)
    assert str(told.value).startswith(f"{path} is not a file of parameters, or it was damaged: ")


def test_names_of_which_one_is_inside_the_other(tmp_path):
    path = tmp_path / "x.safetensors"
    arrays = {"a": np.ones(1), "a.b": np.ones(1)}
    safetensors.numpy.save_file(arrays, path, {"minattn": '{"settings": {}, "empty": []}'})
    assert load_arrays(path).keys() == arrays.keys()
    with pytest.raises(ValueError, match="a.b stands below an array"):
        load(path)
    about = '{"settings": {}, "empty": [], "order": ["a.b", "a"]}'
    safetensors.numpy.save_file(arrays, path, {"minattn": about})
    with pytest.raises(ValueError, match="a is there twice"):
        load(path)


def test_dtypes_that_the_format_does_not_have(tmp_path):
    if np.dtype(np.longdouble) == np.float64:
        pytest.skip("no longer double here")
    with pytest.raises(TypeError, match="a holds float(96|128), which a .safetensors file does not have: BOOL, F16"):
        save_arrays(tmp_path / "x.safetensors", {"a": np.ones(1, np.longdouble)})
    with pytest.raises(ValueError, match="no array can be called '__metadata__'"):
        save_arrays(tmp_path / "x.safetensors", {"__metadata__": np.ones(1)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", [np.ones(3, np.float32), np.ones(2, np.int32), None], ids=["shape", "dtype", "name"])
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, other):
    path = tmp_path / "x.safetensors"
    save_arrays(path, {"a": np.ones(2, np.float32)})
    check = room._promises

    def then_somebody_writes(file, limit):
        checked = check(file, limit)
        path.unlink()
        safetensors.numpy.save_file({"b": np.ones(2)} if other is None else {"a": other}, path)
        return checked

    monkeypatch.setattr(room, "_promises", then_somebody_writes)
    says = "does not contain tensor a" if other is None else "was another a moment before: somebody writes to it"
    with pytest.raises(ValueError, match=says):
        load_arrays(path)
