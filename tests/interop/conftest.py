"""Skips the whole folder, with the reason, where the peers or the program are missing."""

import importlib.util
import os
import tempfile

import pytest

import program

PEERS = ("torch", "transformers", "peft", "gguf", "safetensors", "tokenizers")
# Tokenised data of these tests stays out of the user's cache.
os.environ.setdefault("GRAFT_CACHE", tempfile.mkdtemp(prefix="graft-interop-cache-"))
# A test file that fails to import says nothing; so files are left out, and one test reports why.
_missing = [name for name in PEERS if importlib.util.find_spec(name) is None]


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning")
    config.addinivalue_line("filterwarnings", "ignore::FutureWarning")


def pytest_ignore_collect(collection_path, config):
    return True if _missing and collection_path.name.startswith("test_") else None


def pytest_collection_modifyitems(config, items):
    if not program.AGRI_TUNE.exists():
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"{program.AGRI_TUNE.name} is not built"))


@pytest.fixture(scope="session", autouse=True)
def two_threads():
    import torch

    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A place for files that several tests of one file read."""
    return tmp_path_factory.mktemp("interop")
