"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

DATASETS = Path(os.environ.get("MEDLAB_REALDATA", Path(__file__).parents[2] / "shared" / "datasets"))


def pytest_collection_modifyitems(items):
    missing = pytest.mark.skip(reason=f"the folder of real datasets is absent ({DATASETS.name})")
    for item in items:
        if item.get_closest_marker("realdata") and not DATASETS.is_dir():
            item.add_marker(missing)


@pytest.fixture(scope="session")
def datasets_folder() -> Path:
    """Folder of real medical data; only for tests marked ``realdata``."""
    return DATASETS


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Empty data and reports folders: ``tmp_path/data`` and ``tmp_path/reports``."""
    for name in ("data", "reports"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"MEDLAB_{name.upper()}", str(tmp_path / name))
    return tmp_path
