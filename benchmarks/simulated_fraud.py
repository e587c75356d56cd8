"""Model against rules on simulated fraud: five seeds, through the product's own training and scoring.

python -m benchmarks.simulated_fraud [--events 45000] [--days 30] [--live 3000] [--seeds 5]

For each seed a history is written to a journal and trains a TRANSACTION_FRAUD_INSIGHTS model; its block
threshold is the lowest score that blocks at most the given share of legitimate payments among the held-out
newest events. Payments whose truth is not known yet at the end of the history (labels come two days late)
count in the velocity states, but teach nothing. Then the live stream of 50 payments a second is scored event
by event. The rules are tuned on the same labelled history, to the same share.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

from hawksnest.catalog import Tenant
from hawksnest.demo.resources import ENTITY_TYPE, EVENT_TYPE, LABELS, VARIABLES, threshold_for
from hawksnest.kernel.events import EventSchema, VariableSpec, default_value
from hawksnest.kernel.windows import EntityStates
from hawksnest.ml import artefact
from hawksnest.ml.spec import ARTEFACT, IngestedEvents, TrainingSpec, TrainingVariable
from hawksnest.ml.training import train
from hawksnest.simulate import Labelled, Simulation
from hawksnest.simulate.rules_baseline import tune
from hawksnest.simulate.scoreboard import Scoreboard, Verdict
from hawksnest.store.journal import Journal
from hawksnest.store.records import EventKey, EventSent, StoredEvent
from hawksnest.store.states import footprint
from hawksnest.stream.mapping import REFERENCE_VARIABLES
from hawksnest.world import iso_s

TENANT = Tenant("000000000000", "us-east-1")
SPECS = [
    VariableSpec(name, kind, default_value(default, kind), role) for name, kind, default, role in VARIABLES
]
SCHEMA = EventSchema(EVENT_TYPE, SPECS)
RATE = 50.0


def stored(payment: Labelled, known_at_ms: int) -> StoredEvent:
    """The payment as the server stores it: whole seconds, texts, and its label if that is known by then."""
    given = {variable: str(payment.record[member]) for variable, member in REFERENCE_VARIABLES}
    resolved = SCHEMA.resolve(given)
    return StoredEvent(
        key=EventKey(*TENANT, EVENT_TYPE, str(payment.record["event_id"])),
        event_at_ms=payment.event_at_ms // 1000 * 1000,
        timestamp=iso_s(payment.event_at_ms),
        entity_type=ENTITY_TYPE,
        entity_id=str(payment.record["entity_id"]),
        given=dict(given),
        amount=resolved.amount,
        identities=resolved.identities,
        label=LABELS[payment.fraud] if payment.labelled_at_ms <= known_at_ms else None,
    )


def trained(
    events: list[StoredEvent], folder: Path, seed: int
) -> tuple[artefact.ServedModel, dict[str, Any]]:
    """The model that the server would train on these events, and its metrics."""
    journal = Journal(folder / "journal")
    for event in events:
        journal.append(EventSent(event))
    journal.log.flush()
    spec = TrainingSpec(
        account=TENANT.account,
        region=TENANT.region,
        model_type="TRANSACTION_FRAUD_INSIGHTS",
        model_id="transaction_model",
        version="1.0",
        event_type=EVENT_TYPE,
        variables=[TrainingVariable(name, kind, role) for name, kind, _, role in VARIABLES],
        model_variables=[name for name, *_ in VARIABLES],
        fraud_labels=[LABELS[True]],
        legit_labels=[LABELS[False]],
        source=IngestedEvents(str(folder), events[0].event_at_ms, events[-1].event_at_ms),
        folder=str(folder),
        seed=seed,
    )
    outcome = train(spec, lambda share, text: None, journal)
    journal.close()
    assert outcome.ok, outcome.reason
    return artefact.load(folder / ARTEFACT), outcome.result["trainingResult"]["trainingMetrics"]


def scores_of(model: artefact.ServedModel, states: EntityStates, payments: list[Labelled]) -> list[float]:
    """Scores in order of arrival, each payment counted after its own decision."""
    scores = []
    for payment in payments:
        event = stored(payment, 0)
        mark = footprint(event)
        values = SCHEMA.resolve(event.given).model_values
        vector = model.plan.vector(values, states.read(mark), event.event_at_ms)
        scores.append(model.score(model.packed(vector)))
        states.fold(mark)
    return scores


def board(payments: list[Labelled], blocked: list[bool]) -> Scoreboard:
    """The decisions against the truth."""
    return Scoreboard(
        Verdict(
            str(payment.record["transaction_currency"]),
            int(payment.record["transaction_amt"]),
            payment.fraud,
            verdict,
        )
        for payment, verdict in zip(payments, blocked, strict=True)
    )


def by_kind(payments: list[Labelled], blocked: list[bool]) -> str:
    """Blocked of all, for each kind that has any blocked or is an attack."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    attacks = set()
    for payment, verdict in zip(payments, blocked, strict=True):
        counts[payment.kind][0] += verdict
        counts[payment.kind][1] += 1
        if payment.fraud:
            attacks.add(payment.kind)
    return "  ".join(
        f"{kind} {hit}/{total}"
        for kind, (hit, total) in sorted(counts.items(), key=lambda item: item[0] not in attacks)
        if hit or kind in attacks
    )


def run(seed: int, options: argparse.Namespace) -> tuple[float, float, float, float]:
    """One seed: (money stopped, legit blocked) of the model, then of the rules."""
    # Another hour of another day for each seed.
    now_ms = 1_767_225_600_000 + seed * 100_000_000
    simulation = Simulation(seed, now_ms)
    history = list(simulation.history(options.days, options.events))
    live = list(islice(simulation.live(RATE), options.live))
    with tempfile.TemporaryDirectory() as folder:
        events = [stored(payment, now_ms) for payment in history]
        model, metrics = trained(events, Path(folder), seed)
    threshold = threshold_for(metrics, options.legit_share)
    states = EntityStates()
    for event in events:
        states.fold(footprint(event))
    blocked = [score >= threshold for score in scores_of(model, states, live)]
    found = board(live, blocked)
    known = [payment for payment in history if payment.labelled_at_ms <= now_ms]
    rules = tune(known, options.legit_share).score(live)
    campaigns = {payment.campaign for payment in live if payment.fraud}
    print(
        f"seed {seed}: AUC {metrics['auc']:.3f}, threshold {threshold:.0f}; "
        f"{found.caught + found.missed} frauds of {len(campaigns)} campaigns; "
        f"money stopped {found.money_stopped_share:.3f} at {found.legit_blocked_share:.4f} legit blocked; "
        f"rules only {rules.money_stopped_share:.3f} at {rules.legit_blocked_share:.4f}\n"
        f"    {by_kind(live, blocked)}",
        flush=True,
    )
    return (
        found.money_stopped_share,
        found.legit_blocked_share,
        rules.money_stopped_share,
        rules.legit_blocked_share,
    )


def medians(arguments: list[str] | None = None) -> list[float]:
    """Print each seed; medians of the model's money stopped and legit blocked, then of the rules'."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=45_000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--live", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--legit-share", type=float, default=0.007)
    options = parser.parse_args(arguments)
    rows = [run(seed, options) for seed in range(1, options.seeds + 1)]
    found = [statistics.median(column) for column in zip(*rows, strict=True)]
    print(
        f"median: money stopped {found[0]:.3f} at {found[1]:.4f} legit blocked; "
        f"rules only {found[2]:.3f} at {found[3]:.4f}"
    )
    return found


if __name__ == "__main__":
    medians()
