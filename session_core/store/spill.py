"""Where events wait on disk while the store cannot take them: JSON lines, written at the end, read from the front."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path


class Spill:
    """One file and the place up to which it has been read. Used by one thread.

    The place is not written down: after a crash everything is read again, and the store counts no event twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable_path = path.with_name(path.name + ".unreadable")
        self.waiting = 0
        self._read_bytes = 0

    def recover(self) -> None:
        """Count what an earlier process left; the half line of one that was killed while writing is cut off."""
        self.waiting = self._read_bytes = 0
        if not self.path.exists():
            return
        whole_bytes = 0
        with self.path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    whole_bytes += len(line)
                    self.waiting += 1
        os.truncate(self.path, whole_bytes)

    def add(self, lines: Sequence[bytes]) -> None:
        """Make the lines durable. Raises OSError, and then the file is as it was."""
        if not lines:
            return
        with self.path.open("ab") as file:
            before_bytes = file.tell()
            try:
                file.write(b"".join(line + b"\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, before_bytes)
                raise
        self.waiting += len(lines)

    def front(self, lines_max: int) -> list[bytes]:
        """The oldest lines, with their newlines; none if someone took the file away."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            return list(islice(file, lines_max))

    def drop(self, lines: Sequence[bytes]) -> None:
        """Forget the oldest lines; the file goes with the last one, or when it has no more of them."""
        self._read_bytes += sum(map(len, lines))
        self.waiting = self.waiting - len(lines) if lines else 0
        if self.waiting == 0:
            self.path.unlink(missing_ok=True)
            self._read_bytes = 0

    def set_aside(self, line: bytes) -> None:
        """Keep a line that is no event where a person can look at it."""
        with self.unreadable_path.open("ab") as file:
            file.write(line)

    def sentence(self, error: OSError) -> str:
        """What the trouble with it is, and what to do."""
        return f"Events cannot be kept in {self.path} ({error.strerror}); see that its disk has room and lets us write."
