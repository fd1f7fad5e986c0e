"""medlab: a notebook-driven research workbench for medical imaging and survival analysis.

Research use only. The package is thin: the notebooks in ``notebooks/`` show the library calls, this
package holds what a second notebook needs or what hides a trap (leakage, HU, axis order, censoring).
"""

import importlib
import os
from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parents[1]


def data_dir() -> Path:
    """Folder of the datasets: ``$MEDLAB_DATA`` or ``data/`` beside the package."""
    return Path(os.environ.get("MEDLAB_DATA") or ROOT / "data")


def notebooks_dir() -> Path:
    """Folder of the notebooks: ``$MEDLAB_NOTEBOOKS`` or ``notebooks/`` beside the package."""
    return Path(os.environ.get("MEDLAB_NOTEBOOKS") or ROOT / "notebooks")


def reports_dir() -> Path:
    """Folder of the runs: ``$MEDLAB_REPORTS`` or ``reports/`` beside the package."""
    return Path(os.environ.get("MEDLAB_REPORTS") or ROOT / "reports")


_STEPS = ("import_source", "check", "new_run", "execute", "pages", "overview")  # what 00_start.ipynb calls


def __getattr__(name):
    """The functions of `medlab.desk.steps`, loaded when they are called for: importing medlab loads no library."""
    if name not in _STEPS:
        raise AttributeError(f"module 'medlab' has no attribute {name!r}")
    return getattr(importlib.import_module("medlab.desk.steps"), name)
