"""Arrays in .npz files: a zip of .npy members, each a header and then the numbers, as `np.load` reads them too.

Nothing is pickled or unpickled, and nothing evaluated: the header of a member is read as JSON, which it nearly is.
"""

import os
import re
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

from minattn.weights import headers

ABOUT = "about"  # the member with our settings: a text, where all others are numbers
SUFFIX = ".npy"
KNOWN = re.compile("[<>|=]?[fiubcOSUV][0-9]{0,8}")  # the dtypes of plain arrays, to be read or to be refused by name
LENGTHS = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}  # bytes of the number that says how long the header is
LONGEST = 10_000  # bytes of the header of a member, as in NumPy
DEFLATE = 1032  # the most bytes that one byte of a deflated stream can become
CHUNK = 2**18
LOCAL = 30  # bytes that stand in the archive before the name of each member
END = struct.Struct("<4s6xH10x")  # the end of the archive, of which a mark and the number of members matter here
UNREADABLE = 0b110_0001  # flags: encrypted, a patch, strongly encrypted


class Promise(NamedTuple):
    shape: tuple
    dtype: Any
    fortran: bool
    start: int  # where the numbers begin in the member
    member: Any


def write(path, arrays, about):
    """{name: array} and a text or None. The same content is the same bytes."""
    arrays = arrays if about is None else arrays | {ABOUT: np.array(about)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}{SUFFIX}")  # without today's date
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def read(file, limit):
    """-> {name: array}, and the text or None."""
    with zipfile.ZipFile(file) as archive:
        promises = _promises(file, archive, limit)
        arrays = {name: _array(archive, name, promise) for name, promise in promises.items()}
    about = _text(arrays.pop(ABOUT)) if ABOUT in arrays and arrays[ABOUT].dtype.kind == "U" else None
    return arrays, about


def check(file, limit):
    """ValueError where the headers promise what `read` would not read."""
    with zipfile.ZipFile(file) as archive:
        _promises(file, archive, limit)


def _promises(file, archive, limit):
    """{name: Promise}, all from the headers."""
    members, size = archive.infolist(), os.fstat(file.fileno()).st_size
    _check_count(file, size - len(archive.comment), len(members))
    for member in members:
        _check_member(member)
    _check_places(members, size)
    promises = {}
    for member in members:
        name = member.filename.removesuffix(SUFFIX)
        if name in promises:
            raise ValueError(f"it holds a name twice, {name}")
        with archive.open(member) as content:
            promises[name] = _promise(name, member, content)
    headers.total({name: promise[:2] for name, promise in promises.items()}, limit)
    return promises


def _check_count(file, stop, count):
    """As many members as the end of the zip says: where one of them swallows the next, zipfile misses nothing."""
    file.seek(stop - END.size)
    if END.unpack(file.read(END.size)) != (b"PK\5\6", count):
        raise ValueError(f"its end does not tell of the {count} members that its table lists")


def _check_member(member):
    name = member.orig_filename  # as it stands there: zipfile cuts it at a NUL
    if not name.endswith(SUFFIX):
        raise ValueError(
            f"{headers.shown(name)} is no {SUFFIX} array; PyTorch's own .pt and .bin files are code and are not read: "
            "save the model as .safetensors"
        )
    headers.checked(name.removesuffix(SUFFIX))
    if member.filename != name:
        raise ValueError(f"{name} has a second name, {headers.shown(member.filename)}")
    most = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE}.get(member.compress_type)
    if most is None or member.flag_bits & UNREADABLE:
        raise ValueError(f"{name} is encrypted, or packed in another way than deflate")
    if member.file_size > most * member.compress_size:
        raise ValueError(f"{name} promises {member.file_size:,} bytes, and {member.compress_size:,} cannot hold them")


def _check_places(members, size):
    """Each member in the file, and none inside another: many that share their bytes are a bomb."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise ValueError(f"{member.filename} begins before the file or inside another member")
        end = member.header_offset + LOCAL + len(member.filename) + member.compress_size
    if end > size:
        raise ValueError(f"its members would end at byte {end:,}, and it has {size:,}")


def _promise(name, member, file):
    """What the header of one member says, which must be as long as the zip says."""
    kind = file.read(8)
    if kind not in LENGTHS:
        raise ValueError(f"{member.filename} is not an array of NumPy's format 1.0 or 2.0")
    length = int.from_bytes(file.read(LENGTHS[kind]), "little")
    if length > LONGEST:
        raise ValueError(f"{name} has a header of {length:,} bytes, where at most {LONGEST:,} are read")
    header = _header(name, file.read(length).decode("latin1"))
    dtype, shape = _dtype(name, header["descr"]), headers.shape(name, header["shape"])
    if dtype.kind == "U" and (shape or dtype.itemsize > 4 * headers.HEADER):
        raise ValueError(f"{name} is not one text of at most {headers.HEADER:,} letters")
    start = len(kind) + LENGTHS[kind] + length
    if start + headers.bytes_of(shape, dtype) != member.file_size:
        raise ValueError(
            f"{name} promises {headers.bytes_of(shape, dtype):,} bytes of {dtype} {shape} after a header of {start:,}, "
            f"and the zip {member.file_size:,} in all"
        )
    return Promise(shape, dtype, header["fortran_order"], start, member)


def _header(name, text):
    """{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } as a dict, by way of JSON."""
    for python, json in {"'": '"', "(": "[", ")": "]", "True": "true", "False": "false"}.items():
        text = text.replace(python, json)
    try:
        header = headers.parsed(re.sub(r",(\s*[\]}])", r"\1", text))
    except ValueError as error:
        raise ValueError(f"{name} has a header that says no shape ({error})") from None
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError(
            f"{name} has a header of {headers.shown(header)}, where descr, fortran_order, shape are expected"
        )
    if not isinstance(header["fortran_order"], bool):
        raise ValueError(f"{name} has the order {headers.shown(header['fortran_order'])}, neither True nor False")
    return header


def _dtype(name, descr):
    try:
        dtype = np.dtype(descr) if KNOWN.fullmatch(descr) else None
    except TypeError:  # no text, or float24
        dtype = None
    if dtype is None or dtype.kind not in ("fiubU" if name == ABOUT else "fiub"):
        raise ValueError(f"{name} holds {dtype or headers.shown(descr)}, where only numbers are expected")
    return dtype


def _array(archive, name, promise):
    flat = np.empty(headers.bytes_of(promise.shape, promise.dtype), np.uint8)
    with archive.open(promise.member) as file:
        file.read(promise.start)
        for place in range(0, flat.size, CHUNK):
            part = flat[place : place + CHUNK]
            if file.readinto(part) < part.size:
                raise ValueError(f"{name} ends before its {flat.size:,} bytes")
    array = flat.view(promise.dtype)
    return array.reshape(promise.shape[::-1]).T if promise.fortran else array.reshape(promise.shape)


def _text(array):
    """str(array) would let NumPy make letters of numbers that are none."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes().decode("utf-32-le").rstrip("\0")
