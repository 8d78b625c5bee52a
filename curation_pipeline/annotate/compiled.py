"""The one decorator of the loops that run as machine code.

A rule such as "characters in repeated 10-grams, skipping over each repetition" is a sequential walk that neither numpy
nor Polars can express without a Python step a word. numba compiles such a loop once and keeps the result next to the
module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a function of numbers and arrays; it may call others of ITS OWN module only.

    numba renews its stored code when the file of the function changes and does not look at the files of what it calls.
    The code is stored next to the module, else in the user's cache folder or ``NUMBA_CACHE_DIR``; where none of them
    can be written to, each process compiles for itself (some 20 seconds).
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # no folder for the stored code
        return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))


def inlined(function: Function) -> Function:
    """Compile a small function into its callers: passing arrays to a real call costs more than these do."""
    return cast(Function, numba.njit(nogil=True, error_model="numpy", forceinline=True)(function))
