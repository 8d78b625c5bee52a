"""Reading other people's pickles once, to convert them: only exact globals that were named beforehand are let in.

A pickle is a program: it may import and call anything. Two packaged detectors ship their parameters as pickles, so
their conversion reads them here, where every class of theirs is replaced by an inert ``PickledObject`` and every other
global is refused before it is imported. joblib's files differ from plain pickles in one point: the raw bytes of an
array follow the object that describes it, and ``ArrayRecord`` reads them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from curation_pipeline.errors import IntegrityError

Global = tuple[str, str]
"""A module's name and the name of an object in it, as a pickle states them."""

NDARRAY_WRAPPER: Global = ("joblib.numpy_pickle", "NumpyArrayWrapper")


class PickledObject:
    """Stands for an instance of a foreign class: holds the state that the pickle gave it, and does nothing."""

    fields: dict[str, Any]

    def __new__(cls) -> Self:
        """Take no arguments: a pickle that passes some to a foreign constructor is refused."""
        record = super().__new__(cls)
        record.fields = {}
        return record

    def __setstate__(self, state: object) -> None:
        """Keep the state; only a dictionary of attributes is understood."""
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"an object's state is a {type(state).__name__}, not a dictionary")
        self.fields = state

    def __getitem__(self, name: str) -> Any:
        """The attribute ``name``; an array's description is resolved to the array."""
        if name not in self.fields:
            raise IntegrityError(f"a packaged model lacks the attribute `{name}`; its package may be another version")
        value = self.fields[name]
        return value.array if isinstance(value, ArrayRecord) else value


class ArrayRecord(PickledObject):
    """An array of a joblib file, whose bytes follow its description in the stream."""

    stream: ClassVar[io.BytesIO]
    array: np.ndarray

    def __setstate__(self, state: object) -> None:
        """Read the array's bytes off the stream, which follow this object's state."""
        super().__setstate__(state)
        dtype = np.dtype(self.fields["dtype"])
        if dtype.hasobject:
            raise pickle.UnpicklingError("an array of Python objects")
        shape = tuple(int(n) for n in self.fields["shape"])
        if self.fields.get("numpy_array_alignment_bytes") is not None:
            self.stream.read(self.stream.read(1)[0])
        n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        raw = self.stream.read(max(n_bytes, 0))
        if len(raw) != n_bytes:
            raise pickle.UnpicklingError(f"an array of {n_bytes} bytes ends after {len(raw)}")
        flat = np.frombuffer(raw, dtype=dtype)
        self.array = flat.reshape(shape, order="F") if self.fields.get("order") == "F" else flat.reshape(shape)


def numpy_scalar(dtype: np.dtype[Any], raw: bytes) -> Any:
    """What numpy's own function behind a pickled scalar does, without its way of building arbitrary objects."""
    if dtype.hasobject:
        raise pickle.UnpicklingError("a numpy scalar that holds a Python object")
    return np.frombuffer(raw, dtype=dtype, count=1)[0]


NUMPY_VALUES: Mapping[Global, Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "float64"): np.float64,
    ("numpy._core.multiarray", "scalar"): numpy_scalar,
}
"""What a pickle with numpy arrays and numbers needs; none of it can be made to run code."""


class _AllowlistUnpickler(pickle.Unpickler):
    """The standard unpickler with its one door, ``find_class``, reduced to an allow-list."""

    def __init__(self, stream: io.BytesIO, known: Mapping[Global, Any]) -> None:
        super().__init__(stream)
        self._known = known

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in self._known:
            raise IntegrityError(
                f"a pickle asks for `{module}.{name}`, which is not on the allow-list; the file is not the one that "
                "was reviewed, so it is not read"
            )
        return self._known[module, name]


def read_pickle(data: bytes, records: Collection[Global], values: Mapping[Global, Callable[..., Any]]) -> Any:
    """The object of a pickle or of an uncompressed joblib file, with foreign classes replaced by records.

    Args:
        data: the whole file.
        records: foreign classes, replaced by ``PickledObject`` (arrays of joblib by ``ArrayRecord``).
        values: harmless callables that are used as they are, such as ``numpy.dtype``.

    Returns:
        What the pickle holds: built-in values, records, and the results of ``values``.

    Raises:
        IntegrityError: when the pickle names anything else, or is damaged.
    """
    stream = io.BytesIO(data)
    array_class = type("JoblibArray", (ArrayRecord,), {"stream": stream})
    known: dict[Global, Any] = {name: array_class if name == NDARRAY_WRAPPER else PickledObject for name in records}
    known.update(values)
    try:
        return _AllowlistUnpickler(stream, known).load()
    except IntegrityError:
        raise
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError) as error:
        raise IntegrityError(f"a packaged pickle cannot be read: {error}; download its archive again") from error
