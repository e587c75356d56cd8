"""Where each counterpart of a busy key was seen last and before that: no fold or read has to search for it.

A tracker is a cache over a key's events and may be thrown away. Events are named by absolute index (position
+ base), which stays when older events are removed in front.
"""

from array import array


class _Track:
    """Counterparts of one kind."""

    __slots__ = ("kind", "last", "previous")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.last: dict[int, int] = {}  # counterpart → index of its newest event
        self.previous = array("q")  # per event: index of the same counterpart's event before it, or -1


class Tracker:
    """Keeps a key's marks up to date: bit p of marks[kind] says that no event after p has p's counterpart."""

    __slots__ = ("_base", "_tracks")

    def __init__(self, kinds: int, width: int, ids: "array[int]", start: int, marks: list[int]) -> None:
        self._base = 0
        self._tracks = [_Track(kind) for kind in range(width) if kinds >> kind & 1]
        for track in self._tracks:
            column = ids[track.kind :: width]
            last, previous = track.last, track.previous
            previous.extend([-1] * start)
            for position in range(start, len(column)):
                number = column[position]
                previous.append(last.get(number, -1) if number else -1)
                if number:
                    last[number] = position
            # Digits first, number once: setting bits one by one would copy the number each time.
            digits = bytearray(b"0") * (len(column) + 1)
            for position in last.values():
                digits[-1 - position] = 49
            marks[track.kind] = int(digits, 2)

    def append(self, position: int, row: "tuple[int, ...] | array[int]", marks: list[int]) -> None:
        """An event was added at the end, at `position`."""
        base = self._base
        for track in self._tracks:
            kind = track.kind
            number = row[kind]
            if not number:
                track.previous.append(-1)
                continue
            before = track.last.get(number, -1)
            track.previous.append(before)
            track.last[number] = position + base
            if before >= base:
                marks[kind] ^= 1 << position | 1 << before - base
            else:
                marks[kind] |= 1 << position

    def pop(self, position: int, row: "array[int]", start: int, marks: list[int]) -> None:
        """The event at the end, at `position`, is taken away."""
        base = self._base
        for track in self._tracks:
            before = track.previous.pop()
            number = row[track.kind]
            if not number:
                continue
            if before >= start + base:
                track.last[number] = before
                marks[track.kind] ^= 1 << position | 1 << before - base
            else:
                del track.last[number]
                marks[track.kind] ^= 1 << position

    def drop(self, position: int, row: "array[int]") -> None:
        """The oldest event, at `position`, is let go."""
        for track in self._tracks:
            number = row[track.kind]
            if number and track.last[number] == position + self._base:
                del track.last[number]

    def compact(self, removed: int) -> None:
        """`removed` positions disappeared from the front."""
        self._base += removed
        for track in self._tracks:
            del track.previous[:removed]

    def marks_below(self, kind: int, high: int, start: int, marks: int) -> int:
        """The marks of a kind as they would be without the events from `high` on."""
        base = self._base
        marks &= (1 << high) - 1
        for track in self._tracks:
            if track.kind == kind:
                for before in track.previous[high:]:
                    if start <= before - base < high:
                        marks |= 1 << before - base
        return marks

    def latest(self, kind: int, number: int, high: int) -> int:
        """Position of the newest event below `high` with this counterpart, -1 when there is none."""
        for track in self._tracks:
            if track.kind == kind:
                index = track.last.get(number, -1)
                while index >= high + self._base:
                    index = track.previous[index - self._base]
                return max(-1, index - self._base)
        return -1
