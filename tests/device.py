"""A stand-in for a graphics card: an array that allows exactly what a CuPy array allows, and refuses the rest.

CuPy answers NumPy's functions through `__array_ufunc__` and `__array_function__`. It refuses raw NumPy arrays, silent
conversion to the host, `where=` on ufuncs, `initial=` and `where=` on reductions, and every ufunc method but `at`, and
`reduce` of add and multiply.
"""

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

FUNCTIONS = set(
    """
    add.at all any arange argmax argmin argsort asarray broadcast_to clip concatenate copy cumsum diff empty_like
    einsum expand_dims flip full_like imag max mean min moveaxis nonzero ones_like prod real repeat reshape roll shape
    sort sort split squeeze stack sum swapaxes take take_along_axis tensordot tile transpose tril triu where zeros_like
    """.split()
)
CREATORS = {"arange", "asarray", "zeros_like", "ones_like", "full_like", "empty_like"}


class DeviceArray(NDArrayOperatorsMixin):
    """An array on the pretended card; `get()` brings it to the host."""

    def __init__(self, host):
        self._host = np.asarray(host)

    def get(self):
        return self._host.copy()

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        reduces = method == "reduce" and ufunc in (np.add, np.multiply)
        if not (method in ("__call__", "at") or reduces) or ufunc.__name__ in ("vecdot", "matvec", "vecmat"):
            raise TypeError(f"the device does not have {ufunc.__name__}.{method}")
        if forbidden := {"where", "initial"} & kwargs.keys():
            raise TypeError(f"the device does not take {forbidden} in {ufunc.__name__}")
        _only_device((*inputs, *kwargs.values()), ufunc.__name__)
        return _wrap(getattr(ufunc, method)(*_unwrap(inputs), **_unwrap(kwargs)))

    def __array_function__(self, function, types, args, kwargs):
        name = function.__name__
        if name not in FUNCTIONS:
            raise TypeError(f"the device does not have {name}, or nobody has checked that it does")
        if forbidden := {"where", "initial"} & kwargs.keys():
            raise TypeError(f"the device does not take {forbidden} in {name}")
        if name not in CREATORS:
            _only_device((*args, *kwargs.values()), name)
        return _wrap(function(*_unwrap(args), **_unwrap(kwargs)))

    def __getitem__(self, place):
        _only_device(place if isinstance(place, tuple) else (place,), "indexing")
        return _wrap(self._host[_unwrap(place)])

    def __setitem__(self, place, values):
        _only_device((values, *(place if isinstance(place, tuple) else (place,))), "assignment")
        self._host[_unwrap(place)] = _unwrap(values)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (_wrap(row) for row in self._host)

    def __bool__(self):
        return bool(self._host)

    def __int__(self):
        return int(self._host)

    def __float__(self):
        return float(self._host)

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    real = property(lambda self: DeviceArray(self._host.real))
    imag = property(lambda self: DeviceArray(self._host.imag))
    T = property(lambda self: DeviceArray(self._host.T))
    mT = property(lambda self: DeviceArray(self._host.mT))


def _method(name):
    def method(self, *args, **kwargs):
        if forbidden := {"where", "initial"} & kwargs.keys():
            raise TypeError(f"the device does not take {forbidden} in {name}")
        _only_device((*args, *kwargs.values()), name)
        return _wrap(getattr(self._host, name)(*_unwrap(args), **_unwrap(kwargs)))

    return method


METHODS = "all any argmax argmin argsort astype copy cumsum max mean min prod ravel repeat reshape squeeze sum swapaxes"
for _name in [*METHODS.split(), "take", "transpose"]:
    setattr(DeviceArray, _name, _method(_name))


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
        return DeviceArray(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_wrap(part) for part in value)
    return value


class Elsewhere:
    """An array elsewhere, which comes to the host by get() only."""

    def __init__(self, array):
        self.array = array

    def get(self):
        return self.array

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion")
