"""Pictures of numbers that survive any codec, scaling and colour space.

Four rows of five cells: the corner cells show which way is up (white at the top left, black in the others), the sixteen
between them are the bits of the number, white for 1, from the top left on.

    1  b  b  b  0
    b  b  b  b  b
    b  b  b  b  b
    0  b  b  b  0
"""

import numpy as np
from jaxtyping import Bool, UInt8

ROWS, COLUMNS = 4, 5
UP = {(0, 0): True, (0, -1): False, (-1, 0): False, (-1, -1): False}
NUM_NUMBERS = 1 << (ROWS * COLUMNS - len(UP))


def numbered_picture(number: int, height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """An RGB picture of the number, which is taken modulo `NUM_NUMBERS` (65,536)."""
    cells = np.zeros((ROWS, COLUMNS), bool)
    cells[_bit_cells()] = [number % NUM_NUMBERS >> bit & 1 for bit in range(NUM_NUMBERS.bit_length() - 1)]
    for corner, is_white in UP.items():
        cells[corner] = is_white
    rows, columns = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    grey = np.where(cells[rows][:, columns], np.uint8(235), np.uint8(16))
    return np.repeat(grey[:, :, None], 3, axis=2)


def read_number(picture: UInt8[np.ndarray, "height width 3"]) -> int | None:
    """The number in a picture of any size; None if the picture is not upright or has no number."""
    height, width = picture.shape[:2]
    rows = (2 * np.arange(ROWS) + 1) * height // (2 * ROWS)
    columns = (2 * np.arange(COLUMNS) + 1) * width // (2 * COLUMNS)
    grey = picture[rows][:, columns].mean(axis=2)
    cells = grey > 128
    if np.abs(grey - 128).min() < 64 or any(bool(cells[corner]) != is_white for corner, is_white in UP.items()):
        return None
    return sum(int(is_white) << bit for bit, is_white in enumerate(cells[_bit_cells()]))


def _bit_cells() -> Bool[np.ndarray, "rows columns"]:
    """Mask of the cells that hold bits."""
    is_bit = np.ones((ROWS, COLUMNS), bool)
    for corner in UP:
        is_bit[corner] = False
    return is_bit
