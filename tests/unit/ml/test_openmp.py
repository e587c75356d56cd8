"""LightGBM's OpenMP runtime on a machine that has none."""

import subprocess
import sys
from pathlib import Path

import pytest

from hawksnest.ml import openmp


def run(program: str) -> str:
    """Output of a fresh Python process, in which nothing has loaded an OpenMP runtime yet."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_bundled_runtime_has_a_name_of_its_own() -> None:
    image = openmp.bundled().read_bytes()
    assert openmp.soname(image).startswith("libgomp-")


def test_copy_has_the_name_that_lightgbm_asks_for_and_the_same_length() -> None:
    image = openmp.bundled().read_bytes()
    copy = openmp.with_soname(image, openmp.SONAME)
    assert openmp.soname(copy) == "libgomp.so.1"
    assert len(copy) == len(image)
    assert sum(a != b for a, b in zip(image, copy, strict=True)) <= len(openmp.soname(image))


def test_loaded_copy_satisfies_a_search_for_the_name() -> None:
    # RTLD_NOLOAD (4) finds only what is loaded already: proof that the linker knows the copy by that name.
    program = (
        "import ctypes, os; from hawksnest.ml import openmp\n"
        "name = 'libhawksgomp.so.1'\n"
        "openmp.load(openmp.with_soname(openmp.bundled().read_bytes(), name))\n"
        "found = ctypes.CDLL(name, mode=os.RTLD_NOW | 4)\n"
        "print(found.omp_get_max_threads() > 0)"
    )
    assert run(program) == "True"


def test_lightgbm_takes_the_copy_that_was_loaded_first() -> None:
    program = (
        "from hawksnest.ml import openmp\n"
        "openmp.load(openmp.with_soname(openmp.bundled().read_bytes(), openmp.SONAME))\n"
        "from hawksnest.ml.scorer import _library\n"
        "_library()\n"
        "maps = open('/proc/self/maps').read()\n"
        "print('lib_lightgbm' in maps, '/libgomp.so.1' in maps.replace('/memfd:', ' '))"
    )
    assert run(program) == "True False"


def test_longer_name_is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        openmp.with_soname(openmp.bundled().read_bytes(), "x" * 80)


@pytest.mark.parametrize("image", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(64)])
def test_other_files_are_refused(image: bytes) -> None:
    with pytest.raises(ValueError, match="ELF"):
        openmp.soname(image)


WITHOUT_RUNTIME = """
import ctypes
try:
    ctypes.CDLL("libgomp.so.1")
    raise SystemExit("the machine's runtime is still there")
except OSError:
    pass
import numpy as np
from hawksnest.ml import trees
vectors = np.arange(4000.0).reshape(1000, 4) % 37
table = trees.Table(vectors, vectors[:, 0] > 18, np.ones(1000), ["x"] * 4, ())
print(trees.raw_scores(trees.grow(table, trees.candidates(1000, 500)[0], 20, 7, 2), vectors).std() > 1)
"""


@pytest.mark.full
def test_training_works_where_the_machine_has_no_runtime() -> None:
    """In a mount namespace of its own (needs root), an empty file hides the machine's libgomp."""
    runtimes = [
        str(path) for path in Path("/lib", "x86_64-linux-gnu").glob("libgomp.so.1*") if path.is_file()
    ]
    hide = "".join(f"mount --bind /dev/null $(readlink -f {path}); " for path in runtimes)
    script = f'set -e; {hide} exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, WITHOUT_RUNTIME],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "unshare failed" in done.stderr or "permission denied" in done.stderr.lower():
        pytest.skip("needs the right to make a mount namespace")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
