"""An array that grows at its end, without being copied each time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST_ROOM = 64


class Growing:
    """An array of one dimension with room behind it."""

    __slots__ = ("_all", "_size")

    def __init__(self, dtype: type[np.generic]) -> None:
        self._all: NDArray[Any] = np.zeros(_FIRST_ROOM, dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def array(self) -> NDArray[Any]:
        """What there is, to be read and written until it grows."""
        return self._all[: self._size]

    def extend(self, more: Sequence[Any] | NDArray[Any]) -> None:
        """Adds `more` at the end."""
        start = self._size
        self.grow(start + len(more))
        self._all[start : self._size] = more

    def grow(self, size: int) -> None:
        """Makes it `size` long, with zeros at the end."""
        if size > len(self._all):
            larger = np.zeros(max(size, 2 * len(self._all)), self._all.dtype)
            larger[: self._size] = self.array
            self._all = larger
        self._size = size
