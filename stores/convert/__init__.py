"""Lossless import and export of features: `.npy` folders and HDF5.

Each name is imported when it is first used: `.npy` files need no h5py.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from longvid.stores.convert.arrays import ARRAY_LAYOUTS
    from longvid.stores.convert.file_names import file_stems
    from longvid.stores.convert.hdf5 import export_hdf5, import_hdf5
    from longvid.stores.convert.npy import export_npy, import_npy

__all__ = ["ARRAY_LAYOUTS", "export_hdf5", "export_npy", "file_stems", "import_hdf5", "import_npy"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "arrays": ["ARRAY_LAYOUTS"],
        "file_names": ["file_stems"],
        "hdf5": ["export_hdf5", "import_hdf5"],
        "npy": ["export_npy", "import_npy"],
    },
)
