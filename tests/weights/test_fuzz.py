"""Ten thousand files with something wrong: each is refused in one sentence, or read as exactly what it says.

A mutation may hit nothing of weight, or make another file that is whole: a .safetensors file has no checksum, so a
letter of a name that turns into another is a file with another name. Then what comes back is compared with what a
reader of a few lines, or `np.load`, finds in the same bytes. Beside that: no file takes more memory than its limit.
"""

import copy
import json
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest

from minattn import tree
from minattn.weights import load, load_arrays, save, save_arrays

HOW_MANY = pytest.mark.parametrize(
    "seeds", [range(500), pytest.param(range(500, 5000), marks=pytest.mark.long)], ids=["some", "most"]
)
LIMIT = 2**16  # bytes of arrays that are allowed here: the files are far smaller
BESIDE = 2**19  # what reading takes beside the arrays: headers as Python sees them, the state of zlib
PARAMS = {
    "embed": np.arange(12, dtype=np.float32).reshape(4, 3),
    "blocks": {"0": {"W": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.ones(3, np.float16)}, "1": {}},
    "steps": np.array(7),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 2)),
}
NASTY = [
    -1, 0, 1, 2, 3, 7, 8, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**62, 2**63, 2**64, 10**30, 10**400,
    -(2**63), 0.0, 1.0, 2.5, -0.0, 1e308, float("nan"), float("inf"), None, True, False, "", "F32", "F64", "BF16", "I8",
    "U8", "BOOL", "F8_E4M3", "<f4", "O", "a", "..", "../../etc/passwd", "/", "C:\\", "a\0", "\ud800", "é" * 300,
    [], {}, [[]], [0], [-1], [2, 3], [3, 2], [0, 8], [8, 0], [2**62, 2**62], [0, 2**62], [1] * 65, {"a": {}}, [None],
]  # fmt: skip
NUMBERS = [0, 1, 2, 7, 8, 100, 1000, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1]
NAMES = ["", ".", "..", "a..b", "/a", "../a", "a\\b", "a\0", "x" * 300, "embed", "steps", "about", "blocks", "blocks.0"]


def flat(params):
    return dict(tree.leaves(params))


def same(left, right):
    """Are these the same arrays under the same names, bit for bit?"""
    return left.keys() == right.keys() and all(
        x.dtype == right[name].dtype and x.shape == right[name].shape and x.tobytes() == right[name].tobytes()
        for name, x in left.items()
    )


def attempt(read, path):
    """What comes back, or None where it was refused as it should be; any other exception is raised."""
    try:
        return read(path, limit=LIMIT)
    except ValueError as error:
        text = str(error)
        assert text.startswith(f"{path} is not a file of parameters, or it was damaged: "), text
        assert "\n" not in text and len(text) < len(str(path)) + 400, text
        return None


def trial(path, raw, truth):
    """-> the arrays of the file, or None; the flat reader, the one for trees, memory, and what else lies there."""
    path.write_bytes(raw)
    beside = sorted(os.listdir(path.parent))
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    arrays, whole = attempt(load_arrays, path), attempt(load, path)
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < LIMIT + BESIDE + 8 * len(raw)
    assert path.read_bytes() == raw and sorted(os.listdir(path.parent)) == beside
    if arrays is not None:
        assert same(arrays, truth(path)), "not what the file says"
        assert not [name for name in arrays if not name or set("/\\\0\n") & set(name) or ".." in name]
    if whole is not None:
        assert arrays is not None and same(flat(whole[0]), arrays)
    return arrays


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def byte(rng, raw, stop):
    """Up to four bytes before stop become others."""
    raw = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        raw[rng.randrange(stop)] = rng.choice([0, 1, 255, rng.randrange(256)])
    return bytes(raw)


def cut_or_extended(rng, raw):
    if rng.random() < 0.5:
        return raw[: rng.randrange(len(raw))]
    return raw + rng.randbytes(rng.choice([1, 8, 1000]))


def places(node, path=()):
    """The way to every value in nested dicts and lists."""
    if isinstance(node, (dict, list)):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield (*path, key)
            yield from places(node[key], (*path, key))


def edited(rng, value):
    """The JSON with one value changed, taken out, put in, moved, or under another name."""
    value = copy.deepcopy(value)
    *path, key = rng.choice(list(places(value)))
    node = value
    for step in path:
        node = node[step]
    action = rng.choice(["replace", "replace", "nudge", "delete", "insert", "rename", "swap"])
    if action == "delete":
        del node[key]
    elif action == "insert" and isinstance(node, list):
        node.insert(rng.randrange(len(node) + 1), rng.choice(NASTY))
    elif action == "rename" and isinstance(node, dict):
        node[rng.choice(NAMES)] = node.pop(key)
    elif action == "swap":
        other = rng.choice(list(node if isinstance(node, dict) else range(len(node))))
        node[key], node[other] = node[other], node[key]
    elif action == "nudge" and type(node[key]) is int:
        node[key] += rng.choice([-8, -4, -1, 1, 4, 8])
    else:
        node[key] = rng.choice(NASTY)
    return value


def text_edited(rng, text):
    """The text with a piece of it twice, gone, elsewhere, or wrapped in many brackets."""
    start, stop = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    many = rng.choice([1, 10, 2000, 100_000])
    return rng.choice(
        [
            text[:stop] + text[start:],
            text[:start] + text[stop:],
            text[start:stop] + text[:start] + text[stop:],
            text[:start] + "[" * many + text[start:],
            text[:start] + "[" * many + text[start:stop] + "]" * many + text[stop:],
            text[:start] + '{"a":' * many + text[start:],
            text[:start]
            + rng.choice(["NaN", "-Infinity", "1e999", "9" * 5000, "\\u0000", '"', ",", "}"])
            + text[start:],
        ]
    )


# .safetensors: the length of the header, the header, the numbers


def of_tensors(header, data, length=None):
    text = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry_twice(rng, header):
    """One of the entries once more, as it is or under the name of another."""
    name, other = rng.choice(list(header)), rng.choice(list(header))
    return f"{json.dumps(header)[:-1]}, {json.dumps(other)}: {json.dumps(header[name])}}}"


def moved(rng, header):
    """Offsets that overlap, leave a hole or lie beyond the end."""
    header = copy.deepcopy(header)
    for name in rng.sample([name for name in header if name != "__metadata__"], rng.randint(1, 3)):
        offsets = header[name]["data_offsets"]
        step = rng.choice([-8, -2, -1, 1, 2, 8, 2**40, 2**63])
        header[name]["data_offsets"] = [offsets[0] + step * rng.randint(0, 1), offsets[1] + step]
    return header


def tensors(rng, raw):
    """Another file from this one -> its bytes."""
    length = struct.unpack_from("<Q", raw)[0]
    text, data = raw[8 : 8 + length].decode(), raw[8 + length :]
    header = json.loads(text)
    match rng.randrange(12):
        case 0:
            return byte(rng, raw, 8 + length)
        case 1:
            return byte(rng, raw, 8)
        case 2:
            return cut_or_extended(rng, raw)
        case 3:
            return of_tensors(text, data, length=rng.choice([*NUMBERS, length + rng.randint(-9, 9)]))
        case 4 | 5:
            return of_tensors(text_edited(rng, text), data)
        case 6:
            return of_tensors(entry_twice(rng, header), data)
        case 7:
            return of_tensors(json.dumps(moved(rng, header)), data)
        case 8:
            about = json.dumps(edited(rng, json.loads(header["__metadata__"]["minattn"])))
            header["__metadata__"]["minattn"] = rng.choice([about, text_edited(rng, about)])
            return of_tensors(json.dumps(header), data)
        case 9:
            return of_tensors(json.dumps(header).ljust(rng.choice([8, 800, 80_000])), data)
        case _:
            for _ in range(rng.randint(1, 2)):
                header = edited(rng, header) if header else header
            return of_tensors(json.dumps(header), data)


def once(pairs):
    assert len(dict(pairs)) == len(pairs), "a name stands twice"
    return dict(pairs)


def read_tensors(path):
    """What the file says, in a few lines that trust it."""
    raw = path.read_bytes()
    length = struct.unpack_from("<Q", raw)[0]
    header, data = json.loads(raw[8 : 8 + length], object_pairs_hook=once), raw[8 + length :]
    header.pop("__metadata__", None)
    kinds = {"F": "f", "I": "i", "U": "u"}
    found = {}
    for name, entry in header.items():
        kind = entry["dtype"]
        dtype = "?" if kind == "BOOL" else f"<{kinds[kind[0]]}{int(kind[1:]) // 8}"
        found[name] = np.frombuffer(data[slice(*entry["data_offsets"])], dtype).reshape(entry["shape"])
    assert sum(x.nbytes for x in found.values()) == len(data), "bytes that belong to two arrays or to none"
    return found


@HOW_MANY
def test_safetensors(tmp_path, traced, seeds):
    path = tmp_path / "x.safetensors"
    save(path, PARAMS, {"N": 64, "words": ["a", "b"]})
    raw = path.read_bytes()
    assert same(trial(path, raw, read_tensors), flat(PARAMS))
    found = [trial(path, tensors(random.Random(seed), raw), read_tensors) for seed in seeds]
    read = [arrays for arrays in found if arrays is not None]
    whole = sum(same(arrays, flat(PARAMS)) for arrays in read)
    assert len(read) < len(found) / 2 and 0.05 * len(found) < whole < len(read), (len(found), len(read), whole)


# .npz: members of a zip, each with a header in the words of Python, and a table of contents at the end


def of_npy(header, data, version=(1, 0), length=None):
    text = header.encode("latin1", "replace")
    size = min(len(text) if length is None else length, 2**16 - 1 if version == (1, 0) else 2**32 - 1)
    return b"\x93NUMPY" + bytes(version) + size.to_bytes(2 if version == (1, 0) else 4, "little") + text + data


def pack(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings(action="ignore"):
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method
            archive.writestr(info, content)
    return path.read_bytes()


def npy_edited(rng, content):
    """A member with something else in its header or after it."""
    length = struct.unpack_from("<H", content, 8)[0]
    text, data = content[10 : 10 + length].decode("latin1"), content[10 + length :]
    descr, shape = text.split("'")[3], text[text.index("(") : text.index(")") + 1]
    match rng.randrange(9):
        case 0:
            return of_npy(text.replace(shape, repr(rng.choice(NASTY))), data)
        case 1:
            axes = tuple(
                rng.choice([-1, 0, 1, 2, 3, 4, 6, 12, 2**31, 2**62, 1.0, True]) for _ in range(rng.randint(0, 3))
            )
            return of_npy(text.replace(shape, repr(axes)), data)
        case 2:
            other = rng.choice(
                ["<f8", ">f4", "|b1", "|u1", "<i8", "|O", "<c8", "|S4", "<U1", "f4,f4", "<f3", "", "M8[s]"]
            )
            return of_npy(text.replace(descr, other), data)
        case 3:
            return of_npy(text.replace("False", rng.choice(["True", "0", "None", "'False'", "[]"])), data)
        case 4:
            return of_npy(text_edited(rng, text), data)
        case 5:
            return of_npy(text, data, rng.choice([(1, 0), (2, 0), (3, 0), (0, 0), (255, 1)]), rng.choice(NUMBERS))
        case 6:
            return of_npy(text, rng.choice([data[:-1], data + b"\0", data * 2, data + bytes(10**6)]))
        case 7:
            return of_npy(text.replace("'shape'", rng.choice(["'descr'", "'code'", "'shape': (1,), 'shape'"])), data)
        case _:
            return byte(rng, content, 10 + length)


def table_edited(rng, raw):
    """Another number in an entry of the table of contents, in what stands before a member, or at the very end."""
    raw = bytearray(raw)
    kind, fields = rng.choice(
        [
            (
                b"PK\1\2",
                {4: "H", 6: "H", 8: "H", 10: "H", 16: "I", 20: "I", 24: "I", 28: "H", 30: "H", 32: "H", 42: "I"},
            ),
            (b"PK\1\2", {8: "H", 10: "H", 20: "I", 24: "I", 42: "I"}),
            (b"PK\3\4", {4: "H", 6: "H", 8: "H", 14: "I", 18: "I", 22: "I", 26: "H", 28: "H"}),
            (b"PK\5\6", {4: "H", 6: "H", 8: "H", 10: "H", 12: "I", 16: "I", 20: "H"}),
        ]
    )
    starts = [i for i in range(len(raw)) if raw.startswith(kind, i)]
    for _ in range(rng.randint(1, 2)):
        place, (field, form) = rng.choice(starts), rng.choice(list(fields.items()))
        (old,) = struct.unpack_from(f"<{form}", raw, place + field)
        new = rng.choice([*NUMBERS, old + 1, old - 1, old * 2, old ^ 1, old ^ 8]) % 2 ** (8 * struct.calcsize(form))
        struct.pack_into(f"<{form}", raw, place + field, new)
    return bytes(raw)


def of_numpy(rng, raw, members, path):
    """Another file from this one -> its bytes, and whether a checksum must notice."""
    members = list(members)
    i = rng.randrange(len(members))
    name, content = members[i]
    match rng.randrange(10):
        case 0 | 1:
            return byte(rng, raw, len(raw)), True
        case 2:
            return cut_or_extended(rng, raw), True
        case 3 | 4:
            return table_edited(rng, raw), True
        case 5:
            members[i] = rng.choice([*NAMES, name[:-4]]) + rng.choice([".npy", ".npy", "", ".pkl"]), content
        case 6:
            about = {"settings": {"N": 64}, "empty": ["blocks.1"], "order": [*flat(PARAMS), "blocks.1"]}
            about = json.dumps(edited(rng, about))
            path.unlink(missing_ok=True)
            np.savez(path, about=np.array(rng.choice([about, text_edited(rng, about)])))
            with zipfile.ZipFile(path) as archive:
                members[-1] = "about.npy", archive.read("about.npy")
        case _:
            members[i] = name, npy_edited(rng, content)
    return pack(path, members, rng.choice([8, 8, 8, 0, 12, 14])), False


def read_numpy(path):
    with np.load(path, allow_pickle=False) as arrays:
        assert len(set(arrays.files)) == len(arrays.files) == len(set(arrays.zip.namelist())), "a name stands twice"
        return {name: array for name, array in arrays.items() if array.dtype.kind != "U"}


@HOW_MANY
def test_npz(tmp_path, traced, seeds):
    path = tmp_path / "x.npz"
    save(path, PARAMS, {"N": 64, "words": ["a", "b"]})
    raw = path.read_bytes()
    assert same(trial(path, raw, read_numpy), flat(PARAMS))
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    found = []
    for seed in seeds:
        other, checksummed = of_numpy(random.Random(seed), raw, members, path)
        found.append(trial(path, other, read_numpy))
        if checksummed and found[-1] is not None:
            assert same(found[-1], flat(PARAMS)), f"seed {seed}"
    read = [arrays for arrays in found if arrays is not None]
    whole = sum(same(arrays, flat(PARAMS)) for arrays in read)
    assert len(read) < len(found) / 2 and 0.05 * len(found) < whole < len(read), (len(found), len(read), whole)


# Memory, where tracemalloc does not see it: a process that may not have more


ROOM = 2**28  # bytes that the process may take beside what it has
BOMB = 2**29  # bytes that a bomb becomes
MEMBER = "{'descr': '|u1', 'fortran_order': False, 'shape': (%d,)}"
LISTS = "[" + "{}," * (2**22 // 3 - 9) + "0]"  # as long as a header may be, and far longer in Python's memory
CHILD = """
import resource, sys
import numpy as np
import safetensors.numpy
from minattn.weights import load, load_arrays

pages = int(open("/proc/self/statm", encoding="ascii").read().split()[0])
most = pages * resource.getpagesize() + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
for read, path in ((read, path) for path in sys.argv[2:] for read in (load, load_arrays)):
    try:
        print("read", sum(x.nbytes for x in read(path, limit=2**24).values()))
    except Exception as error:
        print(type(error).__name__)
try:
    print("control", np.ones(int(sys.argv[1]), np.uint8).nbytes)
except MemoryError:
    print("control MemoryError")
"""


def bomb(path, told, promised):
    """A member that unpacks to BOMB zeros, of which the zip tells so many, and the header of the member so many."""
    packer, header = zlib.compressobj(1, wbits=-15), of_npy(MEMBER % promised, b"")
    stream = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    stream += block * (BOMB // 2**20) + packer.flush()
    checksum = zlib.crc32(header + bytes(min(told, 100)))
    sizes = 8, 0, 33, checksum, len(stream), len(header) + told, 5, 0
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, *sizes) + b"a.npy" + stream
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, *sizes, 0, 0, 0, 0, 0) + b"a.npy"
    path.write_bytes(local + entry + end_of_table(1, len(entry), len(local)))


def end_of_table(count, size, start):
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size, start, 0)


def sparse(path, size, start=b"", end=b"\0"):
    """A file of so many bytes that takes no room on the disk."""
    with open(path, "wb") as file:
        file.write(start)
        file.seek(size - len(end))
        file.write(end)


def shared(path):
    """Two thousand entries for one and the same member of a megabyte."""
    raw = pack(path, [("a.npy", of_npy(MEMBER % 2**20, bytes(2**20)))])
    start = raw.rindex(b"PK\1\2")
    table = raw[start : raw.rindex(b"PK\5\6")] * 2000
    path.write_bytes(raw[:start] + table + end_of_table(2000, len(table), start))


def huge(path):
    """As much as it says is there, and it is too much."""
    start = of_tensors(json.dumps({"a": {"dtype": "U8", "shape": [BOMB], "data_offsets": [0, BOMB]}}), b"")
    sparse(path, len(start) + BOMB, start)


REFUSED, READ = ("ValueError", "ValueError"), ("ValueError", "read 16777216")
BOMBS = {
    "fine.npz": (lambda path: save_arrays(path, {"a": np.ones(2**21)}), READ),
    "fine.safetensors": (lambda path: save_arrays(path, {"a": np.ones(2**21)}), READ),
    "length.safetensors": (lambda path: sparse(path, 100, struct.pack("<Q", 2**62)), REFUSED),
    "long.safetensors": (lambda path: sparse(path, 2 * BOMB, struct.pack("<Q", BOMB) + b"{"), REFUSED),
    "lists.safetensors": (lambda path: path.write_bytes(of_tensors(LISTS, b"")), REFUSED),
    "huge.safetensors": (huge, REFUSED),
    "honest.npz": (lambda path: bomb(path, BOMB, BOMB), REFUSED),
    "header.npz": (lambda path: bomb(path, BOMB, 100), REFUSED),
    "zip.npz": (lambda path: bomb(path, 100, 100), ("ValueError", "read 100")),  # the first hundred of all the zeros
    "member.npz": (lambda path: pack(path, [("a.npy", of_npy(" " * 2**27, b"", (2, 0)))]), REFUSED),
    "shared.npz": (shared, REFUSED),
    "table.npz": (lambda path: sparse(path, BOMB, end=end_of_table(1, BOMB - 22, 0)), REFUSED),
    "settings.npz": (lambda path: np.savez_compressed(path, about=np.array(LISTS)), ("ValueError", "read 0")),
}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process to so much memory")
def test_nothing_takes_more_than_it_may(tmp_path):
    """Each in one process, where most of them would end in a MemoryError if they were read as they stand."""
    for name, (make, _) in BOMBS.items():
        make(tmp_path / name)
    command = [sys.executable, "-c", CHILD, str(ROOM), *(str(tmp_path / name) for name in BOMBS)]
    found = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
    *said, control = found.stdout.splitlines()
    assert dict(zip(BOMBS, zip(said[::2], said[1::2], strict=True), strict=True)) == {
        name: expected for name, (_, expected) in BOMBS.items()
    }
    assert control == "control MemoryError"
