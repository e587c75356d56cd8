"""What entity states cost: fold and read of one event by size of its keys, bytes per key, one vector."""

import gc
import tracemalloc
from array import array
from time import process_time
from timeit import repeat

from hawksnest.kernel.events import EventSchema, VariableSpec
from hawksnest.kernel.features import FeaturePlan
from hawksnest.kernel.windows import EntityStates, Footprint, footprint

SIZES = (5, 10, 100, 1_000, 10_000)
KEYS = 2_000  # keys measured together for bytes per key
DAY_MS = 86_400_000
START_MS = 1_700_000_000_000
ROUNDS = 5
FOLDED = 4_000  # events folded before, spread over the keys


def event(number: int, step_ms: int, user: int = 0) -> Footprint:
    """One event with an entity and two identities; four IP addresses and one e-mail address a user."""
    return footprint(
        ("000000000000", "us-east-1"),
        "payment",
        "customer",
        f"user-{user}",
        START_MS + number * step_ms,
        10 + number % 90,
        (("IP_ADDRESS", f"198.51.100.{user}.{number % 4}"), ("EMAIL_ADDRESS", f"user-{user}@example.com")),
    )


def fold_and_read_us(size: int) -> tuple[float, float]:
    """CPU µs of a read and of a fold where the entity and e-mail keys hold `size` events in 30 days."""
    step_ms = 30 * DAY_MS // size
    users = max(1, FOLDED // size)
    each = max(1, size // 10)  # events of one user that are measured
    coming = [event(size + number, step_ms, user) for number in range(each) for user in range(users)]
    folds, both = [], []
    for _ in range(ROUNDS):
        for reading, results in ((False, folds), (True, both)):
            states = EntityStates()
            for number in range(size):
                for user in range(users):
                    states.fold(event(number, step_ms, user))
            start_s = process_time()
            for mark in coming:
                if reading:
                    states.read(mark)
                states.fold(mark)
            results.append((process_time() - start_s) / len(coming) * 1e6)
    return min(both) - min(folds), min(folds)


def bytes_per_key(size: int) -> float:
    """Everything that is allocated for `KEYS` users, by tracemalloc, per key."""
    step_ms = 30 * DAY_MS // size
    users = max(1, KEYS // size)
    gc.collect()
    tracemalloc.start()
    states = EntityStates()
    for user in range(users):
        for number in range(size):
            states.fold(event(number, step_ms, user))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(states)


def specs() -> list[VariableSpec]:
    """Sixteen variables as a card payment has them."""
    types = "IP_ADDRESS EMAIL_ADDRESS CARD_BIN USERAGENT CURRENCY_CODE PAYMENT_TYPE BILLING_STATE BILLING_ZIP"
    texts = [VariableSpec(f"text_{kind.lower()}", "STRING", "", kind) for kind in types.split()]
    texts += [VariableSpec(f"text_{number}", "STRING", "", "CATEGORICAL") for number in range(3)]
    numbers = [VariableSpec(f"number_{number}", "FLOAT", 0.0, "NUMERIC") for number in range(4)]
    return [*texts, *numbers, VariableSpec("amount", "FLOAT", 0.0, "PRICE")]


def resolve_and_vector_us() -> tuple[float, float]:
    """Microseconds of typing an event's 16 variables and of its vector with 3 identities."""
    schema = EventSchema("payment", specs())
    given = {
        spec.name: "12.5" if spec.data_type == "FLOAT" else f"{spec.name} value" for spec in schema.specs
    }
    given |= {"text_ip_address": "198.51.100.7", "text_email_address": "jo.doe7@example.com"}
    given |= {"text_card_bin": "411111", "text_useragent": "Mozilla/5.0 (Windows NT 10.0) Chrome/120.0"}
    resolved = schema.resolve(given)
    plan = FeaturePlan.fit(schema.specs, [resolved.model_values], aggregates=True)
    states = EntityStates()
    mark = footprint(("0", "r"), "payment", "customer", "jo", START_MS, resolved.amount, resolved.identities)
    states.fold(mark)
    reads = states.read(mark)
    assert len(array("d", plan.vector(resolved.model_values, reads, START_MS))) == len(plan.names)
    resolve_s = (
        min(repeat(lambda: schema.resolve(given), timer=process_time, number=5_000, repeat=ROUNDS)) / 5_000
    )
    timed = repeat(
        lambda: plan.vector(resolved.model_values, reads, START_MS),
        timer=process_time,
        number=5_000,
        repeat=ROUNDS,
    )
    vector_s = min(timed) / 5_000
    return resolve_s * 1e6, vector_s * 1e6


def main() -> None:
    print("one entity and two identities; µs per event, all three keys together")
    print(f"{'events':>7} {'read':>7} {'fold':>7} {'bytes/key':>10}")
    for size in SIZES:
        read_us, fold_us = fold_and_read_us(size)
        print(f"{size:>7} {read_us:>7.2f} {fold_us:>7.2f} {bytes_per_key(size):>10.0f}")
    resolve_us, vector_us = resolve_and_vector_us()
    print(f"typing of 16 variables {resolve_us:.1f} µs, vector with 3 identities {vector_us:.1f} µs")


if __name__ == "__main__":
    main()
