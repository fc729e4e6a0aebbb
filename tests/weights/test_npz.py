import json
import struct
import sys
import warnings
import zipfile
import zlib

import numpy as np
import pytest

from minattn.weights import load, load_arrays, npz, save, save_arrays

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b.c": np.arange(2), "d": np.array(True)}
HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


def member(header=HEADER, data=bytes(24), kind=b"\x93NUMPY\x01\x00", length=None):
    text = header if isinstance(header, bytes) else header.encode("latin1")
    length = len(text) if length is None else length
    return kind + length.to_bytes(npz.LENGTHS.get(kind, 2), "little") + text + data


def pack(path, members, method=zipfile.ZIP_DEFLATED, extra=b""):
    """[(name in the zip, bytes)] -> a file; names may be anything."""
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings(action="ignore"):
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type, info.extra = name, method, extra
            archive.writestr(info, content)


def patch(path, place, form, *numbers):
    """Other numbers in the last entry of the table of contents, at that place."""
    raw = bytearray(path.read_bytes())
    struct.pack_into(form, raw, raw.rindex(b"PK\x01\x02") + place, *numbers)
    path.write_bytes(bytes(raw))


def refused(path, says, read=load_arrays):
    with pytest.raises(ValueError, match=says) as told:
        read(path)
    assert str(told.value).startswith(f"{path} is not a file of parameters, or it was damaged: ")
    assert "\n" not in str(told.value) and len(str(told.value)) < len(str(path)) + 300


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_what_others_wrote(tmp_path, write):
    path = tmp_path / "x.npz"
    write(path, np.ones(2), **ARRAYS, turned=np.asfortranarray(ARRAYS["a"]), about=np.arange(3))
    back = load_arrays(path)
    expected = {"arr_0": np.ones(2), "turned": ARRAYS["a"], "about": np.arange(3)} | ARRAYS
    assert back.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(back[name], x, strict=True)


def test_others_read_what_we_wrote(tmp_path):
    path = tmp_path / "x.npz"
    tree = {"a": ARRAYS["a"], "b": {"c": ARRAYS["b.c"]}, "d": ARRAYS["d"]}
    for write, arrays, more in ((save_arrays, ARRAYS, set()), (save, tree, {"about"})):
        write(path, arrays)
        with np.load(path, allow_pickle=False) as back:
            assert set(back) == ARRAYS.keys() | more and all((back[name] == x).all() for name, x in ARRAYS.items())


def test_awkward_names_come_back(tmp_path):
    tree = {"file": np.ones(2), "allow_pickle": np.zeros(1), "args": np.ones(1)}
    save(tmp_path / "without suffix", tree)
    params, _ = load(tmp_path / "without suffix")
    assert params.keys() == tree.keys() and (params["file"] == 1).all()
    save_arrays(tmp_path / "x.npz", {"x.npy": np.ones(1), "x": np.ones(1)})
    assert load_arrays(tmp_path / "x.npz").keys() == {"x.npy", "x"}


def test_files_of_before_have_no_order(tmp_path):
    path = tmp_path / "x.npz"
    save(path, {"a": np.ones(1)}, {"N": 2})
    with np.load(path) as arrays:
        assert json.loads(str(arrays["about"])) == {"settings": {"N": 2}, "empty": []}
    np.savez(path, b=np.ones(1), about=np.array('{"settings": {}, "empty": ["a", "b0"]}'))
    assert load(path)[0] == {"b": 1.0, "a": {}, "b0": {}}


def test_damaged_files_give_one_sentence(tmp_path):
    path, rng = tmp_path / "x.npz", np.random.default_rng(0)
    save(path, {"a": ARRAYS["a"], "b": {"c": ARRAYS["b.c"]}, "d": ARRAYS["d"]})
    whole = path.read_bytes()
    count = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            load(path)
        except ValueError as error:
            assert "is not a file of parameters, or it was damaged" in str(error)
            count += 1
    assert count > 100


def with_header(header, **others):
    return [("a.npy", member(header, **others))]


def edited(old, new):
    assert old in HEADER
    return with_header(HEADER.replace(old, new))


SHORT = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)"
BAD = {
    "text": ([("a.npy", b"text")], "a.npy is not an array of NumPy's format 1.0 or 2.0"),
    "nothing": ([("a.npy", b"")], "a.npy is not an array"),
    "format 3.0": (with_header(HEADER, kind=b"\x93NUMPY\x03\x00"), "a.npy is not an array"),
    "no .npy": ([("archive/data.pkl", b"code")], "'archive/data.pkl' is no .npy array; PyTorch's own .pt and .bin"),
    "slash": ([("../a.npy", member())], "'../a' cannot be the name of an array"),
    "absolute": ([("/a.npy", member())], "'/a' cannot be the name of an array"),
    "backslash": ([("a\\b.npy", member())], r"'a\\\\b' cannot be the name of an array"),
    "NUL": ([("a\0b.npy", member())], r"'a\\x00b' cannot be the name of an array"),
    "NUL at the end": ([("a.npy\0.npy", member())], r"'a.npy\\x00' cannot be the name of an array"),
    "no name": ([(".npy", member())], "'' cannot be the name of an array"),
    "long": ([("a" * 256 + ".npy", member())], r"'a+\.\.\.a+' cannot be the name of an array"),
    "a name twice": ([("a.npy", member()), ("b.npy", member()), ("a.npy", member())], "it holds a name twice, a$"),
    "long header": (with_header(HEADER.ljust(10_001)), "a has a header of 10,001 bytes, where at most 10,000"),
    "very long header": (with_header(HEADER, kind=b"\x93NUMPY\x02\x00", length=2**31), "a header of 2,147,483,648"),
    "header beyond the end": (with_header(SHORT, data=b"", length=999), "a has a header that says no shape"),
    "no dict": (with_header("'text'"), "a has a header of 'text', where descr, fortran_order, shape are expected"),
    "code": (with_header("__import__('os').abort()"), "a has a header that says no shape"),
    "missing": (with_header("{'descr': '<f4', 'shape': (2, 3)}"), "a has a header of {'descr'.*, where descr, fort"),
    "another key": (with_header(SHORT + ", 'x': 1}"), "a has a header of {'descr'.*, where descr, fortran_order"),
    "twice": (with_header(SHORT + ", 'shape': (2, 3)}"), "a has a header that says no shape .* 'shape' twice"),
    "deep": (with_header("[" * 5000 + "]" * 5000), r"a has a header (that says no shape|of \[\[)"),
    "order": (edited("False", "0"), "a has the order 0, neither True nor False"),
    "order in words": (edited("False", "'False'"), "a has the order 'false', neither True nor False"),
    "object": (edited("<f4", "|O"), "a holds object, where only numbers are expected"),
    "complex": (edited("<f4", "<c8"), "a holds complex64, where only numbers are expected"),
    "text in it": (edited("<f4", "<U1"), "a holds <U1, where only numbers are expected"),
    "bytes": (edited("<f4", "|S4"), "a holds |S4, where only numbers"),
    "dates": (edited("<f4", "<M8[s]"), r"a holds '<M8\[s\]', where only numbers are expected"),
    "structure": (edited("'<f4'", "[('x', '<f4')]"), r"a holds \[\['x', '<f4'\]\], where only numbers are expected"),
    "two dtypes": (edited("<f4", "f4,f4"), "a holds 'f4,f4', where only numbers are expected"),
    "float24": (edited("<f4", "<f3"), "a holds '<f3', where only numbers are expected"),
    "by name": (edited("<f4", "float32"), "a holds 'float32', where only numbers are expected"),
    "huge text": (
        [("about.npy", member("{'descr': '<U99999999', 'fortran_order': False, 'shape': ()}"))],
        "about is not one text of at most 4,194,304 letters",
    ),
    "negative": (edited("(2, 3)", "(-2, -3)"), r"a has the shape \[-2, -3\], where up to 64 integers from 0"),
    "a float": (edited("(2, 3)", "(2.0, 3)"), r"a has the shape \[2.0, 3\]"),
    "a truth": (edited("(2, 3)", "(True, 6)"), r"a has the shape \[True, 6\]"),
    "no tuple": (edited("(2, 3)", "6"), "a has the shape 6, where up to 64 integers"),
    "65 axes": (edited("(2, 3)", "(" + "1, " * 64 + "6)"), "a has the shape"),
    "many digits": (edited("(2, 3)", f"({'9' * 5000},)"), "a has a header that says no shape"),
    "promises more than there is": (
        edited("(2, 3)", "(2, 4)"),
        r"a promises 32 bytes of float32 \(2, 4\) after a header",
    ),
    "promises less": (edited("(2, 3)", "(2, 2)"), r"a promises 16 bytes of float32 \(2, 2\) after a header of"),
    "huge": (edited("(2, 3)", "(1099511627776,)"), "a promises 4,398,046,511,104 bytes of float32"),
    "huge and empty": (
        with_header(HEADER.replace("2, 3", "0, 4611686018427387904"), data=b""),
        "it promises more than",
    ),
}


@pytest.mark.parametrize("members, says", BAD.values(), ids=BAD)
def test_members_that_are_wrong(tmp_path, members, says):
    path = tmp_path / "x.npz"
    pack(path, members)
    refused(path, says)
    refused(path, says, read=load)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "header",
    [
        HEADER + " " * 40 + "\n",
        '{"shape": (2,3), "fortran_order": False, "descr": "f4"}',
        "{'descr':'<f4','fortran_order':False,'shape':(2,3,),}",
    ],
)
def test_headers_as_others_write_them(tmp_path, header):
    pack(tmp_path / "x.npz", with_header(header), zipfile.ZIP_STORED)
    assert load_arrays(tmp_path / "x.npz")["a"].shape == (2, 3)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_in_another_way(tmp_path, method):
    """zipfile unpacks these in one go, however much comes out."""
    pack(tmp_path / "x.npz", with_header(HEADER), method)
    refused(tmp_path / "x.npz", "a.npy is encrypted, or packed in another way than deflate")


FLAGS, CRC, PACKED, SIZE, PLACE = 8, 16, 20, 24, 42  # where they stand in an entry of the table of contents
TABLE = {
    "encrypted": (FLAGS, "<H", [1], "b.npy is encrypted, or packed in another way"),
    "a patch": (FLAGS, "<H", [32], "b.npy is encrypted, or packed in another way"),
    "strongly encrypted": (FLAGS, "<H", [64], "b.npy is encrypted, or packed in another way"),
    "checksum": (CRC, "<I", [1], "Bad CRC-32 for file 'b.npy'"),
    "more than fits": (SIZE, "<I", [10**6], "b.npy promises 1,000,000 bytes, and [0-9]+ cannot hold them"),
    "larger": (SIZE, "<I", [999], "b promises 24 bytes of float32 .* and the zip 999 in all"),
    "smaller": (SIZE, "<I", [40], "Bad CRC-32 for file 'b.npy'"),
    "beyond the end": (PACKED, "<I", [10**6], "its members would end at byte 1,000,[0-9]+, and it has"),
    "inside another": (PLACE, "<I", [0], "[ab].npy begins before the file or inside another member"),
}


@pytest.mark.parametrize("place, form, numbers, says", TABLE.values(), ids=TABLE)
def test_a_table_of_contents_that_is_wrong(tmp_path, place, form, numbers, says):
    path = tmp_path / "x.npz"
    pack(path, [("a.npy", member(data=bytes(range(24)))), ("b.npy", member(data=bytes(range(24))))])
    assert load_arrays(path).keys() == {"a", "b"}
    patch(path, place, form, *numbers)
    refused(path, says)


def test_a_member_that_is_elsewhere(tmp_path):
    path = tmp_path / "x.npz"
    pack(path, with_header(HEADER))
    patch(path, PLACE, "<I", 1)
    refused(path, "Bad magic number for file header")


def test_before_the_file(tmp_path):
    path = tmp_path / "x.npz"
    pack(path, with_header(HEADER))
    patch(path, PLACE, "<I", 5)
    raw = path.read_bytes()
    end = raw.rindex(b"PK\x05\x06")
    place = struct.unpack_from("<I", raw, end + 16)[0]
    path.write_bytes(raw[: end + 16] + struct.pack("<I", place + 10) + raw[end + 20 :])
    refused(path, "a.npy begins before the file or inside another member")


def test_two_names_for_one_member(tmp_path):
    path = tmp_path / "x.npz"
    pack(path, with_header(HEADER))
    raw = path.read_bytes()
    at = raw.rindex(b"a.npy")
    path.write_bytes(raw[:at] + b"b.npy" + raw[at + 5 :])
    refused(path, "File name in directory 'b.npy' and header b'a.npy' differ")


def test_a_second_name_in_other_letters(tmp_path):
    """Python 3.12 and later take it for the name, earlier ones and NumPy's other readers do not."""
    path = tmp_path / "x.npz"
    extra = struct.pack("<HHBI", 0x7075, 10, 1, zlib.crc32(b"a.npy")) + b"c.npy"
    pack(path, with_header(HEADER), extra=extra)
    if sys.version_info < (3, 12):
        assert load_arrays(path).keys() == {"a"}
    else:
        refused(path, "a.npy has a second name, 'c.npy'")


def test_a_table_of_contents_before_the_file(tmp_path):
    """As the end of a zip of more than 4 GiB tells it, which here lies."""
    path = tmp_path / "x.npz"
    for size, start in ((0, 0), (2**63, 0), (2**64 - 1, 0), (1, 2**64 - 1), (2**64 - 1, 2**64 - 1)):
        end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, start)
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1)
        path.write_bytes(end + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 2**32 - 1, 2**32 - 1, 0))
        refused(path, "Bad offset|negative|Invalid argument|too large|its end does not tell|Truncated")


def test_a_stream_that_ends_early_or_late(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", member(data=b""))
    size = len(member())
    patch(path, SIZE, "<I", size)
    refused(path, "a ends before its 24 bytes")
    pack(path, [("a.npy", member() + bytes(100))])
    patch(path, SIZE, "<I", size)
    refused(path, "Bad CRC-32")


def test_a_table_of_contents_that_is_too_long(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(80):
            info = zipfile.ZipInfo(f"{i}.npy")
            info.comment = bytes(65_000)
            archive.writestr(info, member())
    assert np.load(path)["3"].shape == (2, 3)
    refused(path, r"its table of contents is 5,[0-9,]+ bytes long, where at most 4,194,304 are read")


def test_a_text_that_is_too_long_or_no_text(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, about=np.array('{"settings": {}, "empty": []}'.ljust(2**22)))
    assert load(path) == ({}, {})
    np.savez_compressed(path, about=np.array('{"settings": {}, "empty": []}'.ljust(2**22 + 1)))
    refused(path, "about is not one text of at most 4,194,304 letters")
    np.savez(path, about=np.array(["{}", "{}"]))
    refused(path, "about is not one text of at most")
    pack(path, [("about.npy", member("{'descr': '<U0', 'fortran_order': False, 'shape': ()}", b""))])
    refused(path, "When changing to a smaller dtype")
    pack(path, [("about.npy", member("{'descr': '<U1', 'fortran_order': False, 'shape': ()}", b"\xff" * 4))])
    refused(path, "code point not in range")
    np.savez(path, about=np.array('{"settings": {"name": "é"}, "empty": []}').astype(">U40"))
    assert load(path) == ({}, {"name": "é"})


def test_cut_anywhere(tmp_path):
    path = tmp_path / "x.npz"
    save_arrays(path, ARRAYS)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        refused(path, ".")


def test_longer_than_it_should_be(tmp_path):
    """A zip is read from its end: what stands before it is nobody's."""
    path = tmp_path / "x.npz"
    save_arrays(path, ARRAYS)
    whole = path.read_bytes()
    path.write_bytes(b"before" + whole)
    assert all((load_arrays(path)[name] == x).all() for name, x in ARRAYS.items())
    path.write_bytes(whole + b"after")
    refused(path, "its end does not tell of the 3 members that its table lists")


def test_a_zip_with_a_comment(tmp_path):
    path = tmp_path / "x.npz"
    save_arrays(path, ARRAYS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"made by hand"
    assert load_arrays(path).keys() == ARRAYS.keys()


def test_a_member_that_swallows_the_next(tmp_path):
    """The table is walked by lengths that it tells itself; one byte more, and a part of the arrays looks like all."""
    path = tmp_path / "x.npz"
    pack(path, [("a.npy", member()), ("b.npy", member()), ("c.npy", member())])
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"PK\x01\x02"))
    struct.pack_into("<H", raw, entry + 32, 51)
    path.write_bytes(bytes(raw))
    assert set(np.load(path)) == {"a", "b"}
    refused(path, "its end does not tell of the 2 members that its table lists")
