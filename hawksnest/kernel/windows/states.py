"""All entity states of a process: who is who, and the three things done with an event."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from hawksnest.kernel.windows.codec import decode, encode
from hawksnest.kernel.windows.footprint import Footprint, money
from hawksnest.kernel.windows.kinds import NEW_ENTITY, NEW_IDENTITY, EntityState, IdentityState
from hawksnest.kernel.windows.limits import COUNTERPARTS, LIMITS, Limits

_COLUMN = {kind: column for column, kind in enumerate(COUNTERPARTS)}


class Reads(NamedTuple):
    """What one event finds in the states, itself not included."""

    entity: tuple[float, ...] | None  # in the order of ENTITY_READS; None when the entity is unknown
    identities: dict[str, tuple[float, ...]]  # by variable type (its first identity), order of IDENTITY_READS


class Scope:
    """The keys of one tenant and event type, by kind and value."""

    __slots__ = ("entities", "identities")

    def __init__(self) -> None:
        self.entities: dict[str, dict[str, EntityState]] = {}
        self.identities: dict[str, dict[str, IdentityState]] = {}

    def size(self) -> int:
        """How many keys there are."""
        return sum(map(len, self.entities.values())) + sum(map(len, self.identities.values()))


class EntityStates:
    """Entity and identity keys with their windows. One caller at a time; memory grows with the keys only."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self._scopes: dict[tuple[str, str, str], Scope] = {}
        self._next = 1  # 0 names nobody
        self._count = 0

    def __len__(self) -> int:
        """How many keys there are."""
        return self._count

    def read(self, footprint: Footprint) -> Reads:
        """Everything an event reads, in one call: its entity first, then its identities."""
        account, region, event_type, entity_type, entity_id, at_ms, amount, identities = footprint
        scope = self._scopes.get((account, region, event_type))
        if scope is None:
            return Reads(
                None if entity_id is None else NEW_ENTITY, {kind: NEW_IDENTITY for kind, _ in identities}
            )
        number = 0
        entity_reads: tuple[float, ...] | None = None
        if entity_id is not None:
            entity = scope.entities.get(entity_type, _NO_ENTITIES).get(entity_id)
            if entity is None:
                entity_reads = NEW_ENTITY
            else:
                number = entity.number
                entity_reads = entity.read(at_ms, money(amount).log)
        found: dict[str, tuple[float, ...]] = {}
        for kind, value in identities:
            if kind not in found:
                identity = scope.identities.get(kind, _NO_IDENTITIES).get(value)
                found[kind] = NEW_IDENTITY if identity is None else identity.read(at_ms, number)
        return Reads(entity_reads, found)

    def fold(self, footprint: Footprint) -> None:
        """Count the event in all its keys."""
        account, region, event_type, entity_type, entity_id, at_ms, amount, identities = footprint
        place = (account, region, event_type)
        scope = self._scopes.get(place)
        if scope is None:
            scope = self._scopes[place] = Scope()
        exact = money(amount)
        entity: EntityState | None = None
        if entity_id is not None:
            entities = scope.entities.get(entity_type)
            if entities is None:
                entities = scope.entities[entity_type] = {}
            entity = entities.get(entity_id)
            if entity is None:
                entity = entities[entity_id] = EntityState(self._number())
        row = (0,) if entity is None else (entity.number,)
        cents = exact[:1]
        mask = 0 if entity is None else 1
        entity_limit, identity_limit, tracked = self.limits
        numbers = [0] * len(COUNTERPARTS)
        columns = 0
        for kind, value in identities:
            known = scope.identities.get(kind)
            if known is None:
                known = scope.identities[kind] = {}
            identity = known.get(value)
            if identity is None:
                identity = known[value] = IdentityState(self._number())
            identity.fold(at_ms, cents, row, mask, identity_limit, tracked)
            column = _COLUMN.get(kind)
            if column is not None and not numbers[column]:
                numbers[column] = identity.number
                columns |= 1 << column
        if entity is not None:
            entity.fold(at_ms, exact, tuple(numbers), columns, entity_limit, tracked)

    def revert(self, footprint: Footprint) -> None:
        """Undo one earlier fold of the same footprint; a key without events is forgotten."""
        scope = self._scopes.get(footprint[:3])
        if scope is None:  # restored without it, because none of its events had a key
            assert footprint.entity_id is None and not footprint.identities
            return
        exact, at_ms = money(footprint.amount), footprint.event_at_ms
        entities = scope.entities.get(footprint.entity_type, {})
        entity = None if footprint.entity_id is None else entities[footprint.entity_id]
        row = (0 if entity is None else entity.number,)
        numbers = [0] * len(COUNTERPARTS)
        for kind, value in footprint.identities:
            identity = scope.identities[kind][value]
            identity.revert(at_ms, exact[:1], row)
            if identity.count == 0:
                del scope.identities[kind][value]
                self._count -= 1
            column = _COLUMN.get(kind)
            if column is not None and not numbers[column]:
                numbers[column] = identity.number
        if entity is not None and footprint.entity_id is not None:
            entity.revert(at_ms, exact, tuple(numbers))
            if entity.count == 0:
                del entities[footprint.entity_id]
                self._count -= 1

    def _number(self) -> int:
        number = self._next
        self._next = number + 1
        self._count += 1
        return number

    def snapshot(self, wanted: Callable[[tuple[str, str]], bool] | None = None) -> Iterator[bytes]:
        """The states as chunks of at most CHUNK_BYTES; the same states give the same bytes.

        `wanted`: only of these tenants (account, region). Nothing may be folded while the iterator is in use.
        The caller adds a checksum.
        """
        return encode(self.limits, self._next, self._keys(wanted))

    def adopt(self, other: "EntityStates", account: str, region: str) -> None:
        """Take over what `other` holds of a tenant, in place of what is held here; `other` is used up."""
        tenant = (account, region)
        for place in [each for each in self._scopes if each[:2] == tenant]:
            self._count -= self._scopes.pop(place).size()
        for place in [each for each in other._scopes if each[:2] == tenant]:
            scope = self._scopes[place] = other._scopes.pop(place)
            self._count += scope.size()
        self._next = max(self._next, other._next)  # numbers mean something inside a scope only

    def _keys(
        self, wanted: Callable[[tuple[str, str]], bool] | None = None
    ) -> Iterator[tuple[tuple[str, str, str], str, str, EntityState | IdentityState]]:
        for place, scope in self._scopes.items():
            if wanted is not None and not wanted(place[:2]):
                continue
            for entity_type, entities in scope.entities.items():
                for value, entity in entities.items():
                    yield place, entity_type, value, entity
            for kind, identities in scope.identities.items():
                for value, identity in identities.items():
                    yield place, kind, value, identity

    @classmethod
    def restore(cls, chunks: Iterable[bytes], limits: Limits = LIMITS) -> "EntityStates":
        """The states that `snapshot` gave. ValueError for another version, other limits or a missing end."""
        states = cls(limits)
        states._next, keys = decode(limits, chunks)
        for place, kind, value, state in keys:
            scope = states._scopes.setdefault(place, Scope())
            if isinstance(state, EntityState):
                scope.entities.setdefault(kind, {})[value] = state
            else:
                scope.identities.setdefault(kind, {})[value] = state
            states._count += 1
        return states

    def contents(self) -> dict[tuple[str, ...], Any]:
        """All keys with what they hold, free of internal numbers and caches: for comparing two states."""
        names: dict[tuple[str, ...], dict[int, tuple[str, ...]]] = {}  # by scope
        held = {}
        for place, kind, value, state in self._keys():
            side = "entity" if isinstance(state, EntityState) else "identity"
            name = (*place, side, kind, value)
            names.setdefault(place, {})[state.number] = name
            held[name] = state
        return {name: state.contents(names[name[:3]]) for name, state in held.items()}


_NO_ENTITIES: dict[str, EntityState] = {}
_NO_IDENTITIES: dict[str, IdentityState] = {}
