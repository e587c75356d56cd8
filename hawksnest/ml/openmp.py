"""Makes `libgomp.so.1` available to LightGBM on a machine that has none.

LightGBM's wheel links against the system's OpenMP runtime; scikit-learn's wheel brings the same runtime under
a name of its own. The dynamic linker recognises a loaded library by its SONAME, so a copy of scikit-learn's
with the SONAME rewritten, loaded first, is what LightGBM finds.
"""

import ctypes
import importlib.metadata
import os
import struct
import tempfile
from pathlib import Path

SONAME = "libgomp.so.1"

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_STRTAB, _DT_SONAME = 0, 5, 14


def provide() -> None:
    """Have the OpenMP runtime loaded, from the system or from scikit-learn's copy.

    Raises ImportError with what to install when neither is there.
    """
    # The runtime reads this once, when it is loaded. By default a thread that waits for its next piece of
    # work spins: on a busy machine that takes the cores from those who have the work (measured: 37 s instead
    # of 0.2), and from the server's decisions.
    os.putenv("OMP_WAIT_POLICY", "PASSIVE")
    try:
        ctypes.CDLL(SONAME, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        load(with_soname(bundled().read_bytes(), SONAME))


def bundled() -> Path:
    """The OpenMP runtime inside scikit-learn's wheel. Raises ImportError when it has none."""
    for file in importlib.metadata.files("scikit-learn") or ():
        if file.parent.name == "scikit_learn.libs" and file.name.startswith("libgomp"):
            return Path(str(file.locate()))
    raise ImportError(
        f"LightGBM needs {SONAME}, which this machine does not have and scikit-learn's wheel does not bring; "
        "install the package libgomp1 (Debian, Ubuntu) or libgomp (Fedora)."
    )


def load(image: bytes) -> ctypes.CDLL:
    """Map a shared library given as bytes into this process, its symbols global; leaves no file behind.

    An anonymous memory file comes first because /tmp may be mounted noexec; a private folder is the
    fallback because a kernel may forbid executable memory files.
    """
    try:
        descriptor = os.memfd_create(SONAME)
        try:
            Path(f"/proc/self/fd/{descriptor}").write_bytes(image)
            return ctypes.CDLL(f"/proc/self/fd/{descriptor}", mode=ctypes.RTLD_GLOBAL)
        finally:
            os.close(descriptor)
    except OSError:
        with tempfile.TemporaryDirectory(prefix="hawksnest-openmp-") as folder:
            path = Path(folder, SONAME)
            path.write_bytes(image)
            return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def soname(image: bytes) -> str:
    """The SONAME of a 64-bit little-endian ELF shared library. Raises ValueError for anything else."""
    start = _soname_offset(image)
    return image[start : image.index(b"\0", start)].decode()


def with_soname(image: bytes, name: str) -> bytes:
    """The same library under another SONAME, which must not be longer than its own."""
    start = _soname_offset(image)
    length = image.index(b"\0", start) - start
    if len(name) > length:
        raise ValueError(f"{name} is longer than the SONAME it would replace ({length} bytes).")
    return image[:start] + name.encode().ljust(length, b"\0") + image[start + length :]


def _soname_offset(image: bytes) -> int:
    """Where in the file the SONAME's text begins."""
    if image[:4] != b"\x7fELF" or image[4:6] != b"\x02\x01":
        raise ValueError("Not a 64-bit little-endian ELF file.")
    (table,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    segments = [struct.unpack_from("<IIQQQQ", image, table + index * size) for index in range(count)]
    dynamic = next((segment for segment in segments if segment[0] == _PT_DYNAMIC), None)
    if dynamic is None:
        raise ValueError("Not a shared library: it has no dynamic section.")
    entries: dict[int, int] = {}
    for place in range(dynamic[2], dynamic[2] + dynamic[5], 16):
        tag, value = struct.unpack_from("<qQ", image, place)
        if tag == _DT_NULL:
            break
        entries.setdefault(tag, value)
    if _DT_SONAME not in entries or _DT_STRTAB not in entries:
        raise ValueError("The shared library has no SONAME.")
    strings = entries[_DT_STRTAB]
    for kind, _, offset, address, _, length in segments:
        if kind == _PT_LOAD and address <= strings < address + length:
            return int(strings - address + offset + entries[_DT_SONAME])
    raise ValueError("The shared library's strings lie outside the file.")
