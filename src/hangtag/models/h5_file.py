"""Check a file of weights in HDF5 before Keras reads it: its numbers are all in it, as many as it says."""

import math
from pathlib import Path
from typing import Any

from hangtag.errors import ModelError
from hangtag.models.description_file import AGAIN, escape


def check_h5(path: Path) -> None:
    """Check that a file is HDF5 whose numbers are all in it.

    HDF5 can refer to other files, whose content would then be read as weights, and can declare arrays far larger than
    what is stored, which would fill the memory. The library's older reader follows both.

    Raises:
        ModelError: There is no such file, it cannot be read, or it refers to others, or to more than it holds.
    """
    import h5py  # noqa: PLC0415  (comes with Keras)

    if not path.is_file():
        raise ModelError("There is no such file of weights.", received=str(path))
    try:
        with h5py.File(path, "r") as file:
            fault = _find_fault(file, h5py)
    except Exception as error:  # it raises many kinds on a file from elsewhere
        fault = escape(str(error))
    if fault:
        raise ModelError(
            f"The file of weights cannot be read: {fault}.",
            allowed="Allowed: HDF5 whose numbers are all in it, not compressed.",
            hint=AGAIN,
            received=str(path),
        )


def _find_fault(file: Any, h5py: Any) -> str:
    groups, known = [file], {h5py.h5o.get_info(file.id).addr}
    while groups:
        group = groups.pop()
        for name in group:
            # Links may lead to other files, or in a circle; Keras writes none.
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                return "it has a link, which may lead to other files"
            found = group[name]
            place = h5py.h5o.get_info(found.id).addr
            if place in known:
                return "it has the same entry in two places"
            known.add(place)
            if isinstance(found, h5py.Group):
                groups.append(found)
            elif fault := _find_dataset_fault(found):
                return fault
    return ""


def _find_dataset_fault(dataset: Any) -> str:
    if dataset.external or dataset.is_virtual:
        return "it refers to other files"
    if math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize > max(dataset.id.get_storage_size(), 64):
        return "it declares more numbers than it holds"
    return ""
