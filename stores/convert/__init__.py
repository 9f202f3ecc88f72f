"""Lossless import and export of features: `.npy` folders and HDF5."""

from longvid.stores.convert.arrays import ARRAY_LAYOUTS
from longvid.stores.convert.hdf5 import export_hdf5, import_hdf5
from longvid.stores.convert.npy import export_npy, import_npy

__all__ = ["ARRAY_LAYOUTS", "export_hdf5", "export_npy", "import_hdf5", "import_npy"]
