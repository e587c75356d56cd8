"""Several events decided in one turn, stage by stage, with the results of one after the other.

Events that share nothing go through each stage of `predict.py` together: the same code many times in a row
costs a third less than all of it for each. Whatever is special goes alone. Calls of batch jobs do not come
here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hawksnest.app import App, Call
from hawksnest.kernel.events import Event, Resolved
from hawksnest.predict import Ready, decided, entry_of, is_stored, predict
from hawksnest.snapshot import DetectorSnapshot
from hawksnest.store.ports import LookAgain
from hawksnest.store.records import EventKey, Predicted
from hawksnest.store.states import footprint


class Asked(NamedTuple):
    """An event to be decided."""

    call: Call
    snapshot: DetectorSnapshot  # without external models
    event: Event
    resolved: Resolved


def predict_all(app: App, asked: Sequence[Asked]) -> list[Predicted | Exception]:
    """What `predict` returns or raises for each, as if one came after the other. No call may block.

    Events that share an id, an entity or an identity are decided in the order given.
    """
    made: dict[int, Predicted | Exception] = {}
    with app.ledger.turn:
        for places in _rounds(asked):
            _decide(app, asked, places, made)
    return [made[place] for place in range(len(asked))]


def _rounds(asked: Sequence[Asked]) -> list[list[int]]:
    """Places of events that share nothing, each after those of earlier places that it shares something with.

    Reading the states for a whole round before any of it is folded finds what reading one after the other
    would.
    """
    rounds: list[list[int]] = []
    following: dict[object, int] = {}  # what events share → the round for the next that has it
    for place, (_, _, event, resolved) in enumerate(asked):
        shared = (event.event_id, (event.entity_type, event.entity_id), *resolved.identities)
        number = max([following.get(each, 0) for each in shared])
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(place)
        for each in shared:
            following[each] = number + 1
    return rounds


def _decide(
    app: App, asked: Sequence[Asked], places: list[int], made: dict[int, Predicted | Exception]
) -> None:
    """Read, score, decide, append and fold the new events of a round; then the others, each alone."""
    now_ms = app.world.now_ms()
    together, alone, marks, ready = [], [], [], []
    for place in places:
        call, snapshot, event, resolved = asked[place]
        key = EventKey(call.tenant.account, call.tenant.region, event.event_type, event.event_id)
        if _is_new(app, key):
            entry = entry_of(key, event, resolved, now_ms, None, None)
            mark = footprint(entry)
            stored = is_stored(app, snapshot, event, now_ms)
            together.append(place)
            marks.append(mark)
            ready.append(Ready(snapshot, entry, stored, resolved, app.states.read(mark), now_ms, None))
        else:
            alone.append(place)
    try:
        records = decided(ready)
    except Exception:  # noqa: BLE001  whoever fails must not take the others along
        alone += together
    else:
        seqs = app.ledger.append_new(records)
        for place, mark, record, seq in zip(together, marks, records, seqs, strict=True):
            if isinstance(seq, Exception):
                made[place] = seq
                continue
            made[place], call = record, asked[place].call
            call.seq = max(call.seq, seq)
            if record.stored:
                app.states.fold(mark)
    for place in alone:
        try:
            made[place] = predict(app, *asked[place])
        except Exception as fault:  # noqa: BLE001  it belongs to the one who asked
            made[place] = fault


def _is_new(app: App, key: EventKey) -> bool:
    """Does memory alone say that nothing is known of the event id?"""
    try:
        return app.ledger.settled(key, None) == (None, None)
    except LookAgain:
        return False
