"""The examples in docstrings say what really comes out."""

import doctest
import importlib

import pytest

from medlab import ROOT

WITH_EXAMPLES = [".".join(path.relative_to(ROOT).with_suffix("").parts)
                 for path in sorted((ROOT / "medlab").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples(module):
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted and not found.failed


def test_there_are_examples():
    assert len(WITH_EXAMPLES) > 5
