"""Memory that runs out in a program under test: the other side of tests/support/starve.c, which is preloaded."""

import mmap
import os
import struct
import tempfile

LIBRARY = os.environ.get("SIPTRUNK_TEST_STARVE_LIBRARY")
NEVER, ONCE, FROM_THERE_ON, RANDOM = range(4)
PROGRAM, LIBPQ, LIBRDKAFKA, OTHERS = 1, 2, 4, 8  # whose allocations count
_WORD = struct.Struct("=Q")
_WORDS = {name: 8 * place for place, name in enumerate(
    ("mode", "number", "callers", "per_million", "seed", "counted", "failed", "last"))}


class Starvation:
    """Of the programs that are started in this environment, one at a time."""

    def __init__(self):
        assert LIBRARY, "SIPTRUNK_TEST_STARVE_LIBRARY does not say where the library to preload is: see tests/faults.cmake"
        self._file = tempfile.NamedTemporaryFile(prefix="siptrunk-starve-")
        self._file.truncate(8 * len(_WORDS))
        self._map = mmap.mmap(self._file.fileno(), 8 * len(_WORDS))

    @property
    def environment(self):
        return {"LD_PRELOAD": LIBRARY, "STARVE_FILE": self._file.name,
                "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=1:abort_on_error=1"}

    def __getattr__(self, name):
        return _WORD.unpack_from(self._map, _WORDS[name])[0]

    def _set(self, **values):
        for name, value in values.items():
            _WORD.pack_into(self._map, _WORDS[name], value)

    def begin(self, mode, callers, number=0, per_million=0, seed=0):
        """Counts from here on, and lets what is chosen fail."""
        self.end()
        self._set(number=number, callers=callers, per_million=per_million, seed=seed, counted=0, failed=0, last=0)
        self._set(mode=mode)

    def end(self):
        """(allocations that were counted, those that failed)."""
        self._set(mode=NEVER)
        return self.counted, self.failed
