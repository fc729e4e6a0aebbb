"""A stand-in for a graphics card: an array that allows exactly what a CuPy array allows, and refuses the rest.

CuPy answers NumPy's functions through `__array_ufunc__` and `__array_function__`. It refuses raw NumPy arrays and
lists, silent conversion to the host, `where=` on ufuncs, `initial=` and `where=` on reductions, and every ufunc method
but `at`, and `reduce` of add and multiply. What it does in silence is done here aloud or likewise: an index out of
range comes out at the other end, and of two numbers written to one place nobody knows which stays.

What is asked of the device is noted in `asked`, so that it can be compared with CuPy itself where that is installed,
and every wait for the device in `waits`: on a card each costs as much as a hundred thousand multiplications.
"""

import collections
import numbers

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

FUNCTIONS = set(
    """
    all any arange argmax argmin argsort array_equal asarray broadcast_to clip concatenate copy cumsum diff empty_like
    einsum expand_dims flip full_like imag max mean min moveaxis nonzero ones_like prod real repeat reshape result_type
    roll shape sort split squeeze stack sum swapaxes take take_along_axis tensordot tile transpose tril triu where
    zeros_like
    """.split()
)
CREATORS = {"arange", "asarray", "zeros_like", "ones_like", "full_like", "empty_like"}
TAKES = {"take", "take_along_axis"}  # an index each, which comes out at the other end where it is out of range
asked = set()  # (name, how many arguments, keywords, dtypes)
waits = collections.Counter()  # by what was waited for


class DeviceArray(NDArrayOperatorsMixin):
    """An array on the pretended card; `get()` brings it to the host."""

    def __init__(self, host, copy=True):
        self._host = np.array(host, copy=copy or None)  # what goes to a card is a copy; views of it are not
        if self._host.dtype.kind not in "fciub":
            raise ValueError(f"Unsupported dtype {self._host.dtype}")

    def get(self):
        waits["get"] += 1
        return self._host.copy()

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        reduces = method == "reduce" and ufunc in (np.add, np.multiply)
        if not (method in ("__call__", "at") or reduces) or ufunc.__name__ in ("vecdot", "matvec", "vecmat"):
            raise TypeError(f"the device does not have {ufunc.__name__}.{method}")
        if forbidden := {"where", "initial"} & kwargs.keys():
            raise TypeError(f"the device does not take {forbidden} in {ufunc.__name__}")
        for x in inputs:
            if not isinstance(x, (DeviceArray, numbers.Number, np.generic)):
                raise TypeError(f"Unsupported type {type(x)} in {ufunc.__name__}: neither a device array nor a number")
        _only_device(kwargs.values(), ufunc.__name__)
        _note(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}", inputs, kwargs)
        return _wrap(getattr(ufunc, method)(*_unwrap(inputs), **_unwrap(kwargs)))

    def __array_function__(self, function, types, args, kwargs):
        name = function.__name__
        if name not in FUNCTIONS:
            raise TypeError(f"the device does not have {name}, or nobody has checked that it does")
        if forbidden := {"where", "initial"} & kwargs.keys():
            raise TypeError(f"the device does not take {forbidden} in {name}")
        if name == "einsum" and "out" in kwargs:
            raise TypeError("the device does not take out in einsum")
        if name not in CREATORS:
            _only_device((*args, *kwargs.values()), name)
        _note(name, args, kwargs)
        if name in TAKES:
            kwargs = kwargs | {"mode": "wrap"} if name == "take" else kwargs
            args = args if name == "take" else _round(*args, **kwargs)
            kwargs = kwargs if name == "take" else {}
        if name.endswith("_like") and "shape" in kwargs and not kwargs["shape"]:
            kwargs = {key: value for key, value in kwargs.items() if key != "shape"}  # CuPy takes () and 0 for none
        if name == "asarray":
            args = (args[0].copy() if isinstance(args[0], np.ndarray) else args[0], *args[1:])
        if name == "array_equal":
            waits[name] += 1
        return _wrap(function(*_unwrap(args), **_unwrap(kwargs)))

    def __getitem__(self, place):
        _only_device(place if isinstance(place, tuple) else (place,), "indexing")
        _wait_for_a_mask(place)
        return _wrap(self._host[self._within(place)])

    def __setitem__(self, place, values):
        _only_device((values, *(place if isinstance(place, tuple) else (place,))), "assignment")
        _wait_for_a_mask(place)
        place = self._within(place)
        chosen = [part for part in (place if isinstance(place, tuple) else (place,)) if isinstance(part, np.ndarray)]
        if chosen and np.ndim(_unwrap(values)) and all(part.dtype.kind in "iu" for part in chosen):
            places = np.stack([part.reshape(-1) for part in np.broadcast_arrays(*chosen)])
            if len(np.unique(places, axis=1).T) < places.shape[1]:
                raise IndexError("two numbers are written to one place: on a device nobody knows which of them stays")
        self._host[place] = _unwrap(values)

    def _within(self, place):
        """The place, where CuPy looks for it: numbers in an array that are out of range count from the other end."""
        parts, axis, found = place if isinstance(place, tuple) else (place,), 0, []
        used = sum(getattr(p, "ndim", 1) if _is_mask(p) else p is not None and p is not Ellipsis for p in parts)
        for part in parts:
            if isinstance(part, DeviceArray) and part.dtype.kind in "iu" and self.shape[axis]:
                part = part._host % self.shape[axis]
            found.append(_unwrap(part))
            if part is Ellipsis:
                axis += self.ndim - used
            elif part is not None:
                axis += part.ndim if _is_mask(part) else 1
        return tuple(found) if isinstance(place, tuple) else found[0]

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (_wrap(row) for row in self._host)

    def __deepcopy__(self, memo):
        return DeviceArray(self._host.copy())

    shape = property(lambda self: self._host.shape)
    flags = property(lambda self: self._host.flags)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    real = property(lambda self: DeviceArray(self._host.real, copy=False))
    imag = property(lambda self: DeviceArray(self._host.imag, copy=False))
    T = property(lambda self: DeviceArray(self._host.T, copy=False))
    mT = property(lambda self: DeviceArray(self._host.mT, copy=False))


def _waiting(kind):
    def convert(self):
        waits[kind.__name__] += 1
        return kind(self._host)

    return convert


for _kind in (bool, int, float, complex):
    setattr(DeviceArray, f"__{_kind.__name__}__", _waiting(_kind))


def _method(name):
    def method(self, *args, **kwargs):
        if forbidden := {"where", "initial"} & kwargs.keys():
            raise TypeError(f"the device does not take {forbidden} in {name}")
        _only_device((*args, *kwargs.values()), name)
        _note(f".{name}", (self, *args), kwargs)
        if name == "astype" and self.dtype.kind in "fc" and np.dtype(args[0]).kind in "iub":
            assert np.isfinite(self._host).all(), "NaN as an integer: a device gives another one"
        kwargs = kwargs | {"mode": "wrap"} if name in TAKES else kwargs
        return _wrap(getattr(self._host, name)(*_unwrap(args), **_unwrap(kwargs)))

    return method


METHODS = "all any argmax argmin argsort astype copy cumsum max mean min prod ravel repeat reshape squeeze sum swapaxes"
for _name in [*METHODS.split(), "take", "transpose"]:
    setattr(DeviceArray, _name, _method(_name))


def _note(name, args, kwargs):
    kinds = "".join(x.dtype.char for x in args if isinstance(x, (DeviceArray, np.generic)))
    asked.add((name, len(args), frozenset(kwargs), kinds))


def _round(array, indices, axis):
    """The arguments of take_along_axis with indices that are in range."""
    return array, DeviceArray(indices._host % array.shape[axis]), axis


def _is_mask(part):
    return isinstance(part, (DeviceArray, np.ndarray)) and part.dtype.kind == "b"


def _wait_for_a_mask(place):
    """CuPy asks how many numbers a mask chooses, to be read or to be written."""
    if any(map(_is_mask, place if isinstance(place, tuple) else (place,))):
        waits["mask"] += 1


def _only_device(values, where):
    for value in values:
        if isinstance(value, np.ndarray):
            raise TypeError(f"Unsupported type {type(value)} in {where}: a host array came where device arrays are")
        if isinstance(value, (list, tuple)):
            _only_device(value, where)


def _unwrap(value):
    if isinstance(value, DeviceArray):
        return value._host
    if isinstance(value, (list, tuple)):
        return type(value)(_unwrap(part) for part in value)
    if isinstance(value, dict):
        return {name: _unwrap(part) for name, part in value.items()}
    return value


def _wrap(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return DeviceArray(value, copy=False)
    if isinstance(value, (list, tuple)):
        return type(value)(_wrap(part) for part in value)
    return value
