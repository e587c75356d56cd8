"""Rules: one decision over 20 typical rules as one function, by the oracle, and what a new rule costs.

python -m benchmarks.rules
"""

from collections.abc import Callable
from functools import partial
from time import process_time
from timeit import Timer

from hawksnest.kernel.decide import Decider, DecisionRule
from hawksnest.kernel.lang import Scope, check, compile_rules, interpret

SCOPE = Scope(
    {
        "amount": "FLOAT",
        "qty": "INTEGER",
        "country": "STRING",
        "card_country": "STRING",
        "currency": "STRING",
        "email": "STRING",
        "phone": "STRING",
        "ip": "STRING",
        "merchant": "STRING",
        "flag": "BOOLEAN",
        "signup": "DATETIME",
        "pay_insightscore": "FLOAT",
    },
    {"denied_ips": "IP_ADDRESS", "denied_merchants": "CATEGORICAL"},
)
VALUES = {
    "amount": 120.5,
    "qty": 2,
    "country": "US",
    "card_country": "US",
    "currency": "USD",
    "email": "joe@example.com",
    "phone": "+4915550100",
    "ip": "192.0.2.77",
    "merchant": "m-17",
    "flag": False,
    "signup": 1_600_000_000_000,
    "pay_insightscore": 412.0,
}
LISTS = {
    "denied_ips": frozenset(f"198.51.100.{host}" for host in range(256)),
    "denied_merchants": frozenset(f"bad-{number}" for number in range(1000)),
}
NOW_MS = 1_704_067_200_000
RULES = (
    "$pay_insightscore > 900",
    "$pay_insightscore > 700 and $amount > 500",
    "$amount > 5000",
    "$amount > 1000 and $country != $card_country",
    '$country in ["KP", "IR", "SY"]',
    '$currency != "USD" and $amount > 2000',
    "$ip in @denied_ips",
    "$merchant in @denied_merchants",
    'regex_match(".*@(mailinator|tempmail)\\.com", $email)',
    'regex_match("\\+1.*", $phone) and $country != "US"',
    "$flag == true and $amount > 100",
    "$qty > 20",
    "$amount * $qty > 10000",
    "$email == null or $phone == null",
    'isafter($signup, "2024-01-01T00:00:00Z") and $amount > 200',
    "$qty in [13, 17, 19] and $pay_insightscore >= 500",
    'lowercase($merchant) == "casino"',
    '!($country == "US") and $pay_insightscore > 600',
    "getepochmilliseconds(getcurrentdatetime()) - getepochmilliseconds($signup) < 86400000",
    '$amount < 1 and $card_country not in ["US", "CA", "GB"]',
)
REGEX_RULE = 'regex_match("(?i)[a-z0-9._%+-]+@gmail\\.com", $email)'


def main() -> None:
    """Print the figures; each is the best of five runs."""
    checked = [check(rule, SCOPE) for rule in RULES]
    for mode, first_matched in (("ALL_MATCHED", False), ("FIRST_MATCHED", True)):
        evaluate = compile_rules(checked, first_matched).evaluate
        states = evaluate(VALUES, LISTS, NOW_MS)
        seconds = _best(partial(evaluate, VALUES, LISTS, NOW_MS), 20_000)
        print(f"20 rules, {mode}: {seconds * 1e6:.2f} µs ({states.count(2)} matched)")
    decider = Decider(
        [DecisionRule(f"r{n}", "1", ("review",), rule) for n, rule in enumerate(checked)], "FIRST_MATCHED"
    )
    seconds = _best(lambda: decider.decide(VALUES, LISTS, NOW_MS), 20_000)
    print(f"decision with trace over them: {seconds * 1e6:.2f} µs")
    seconds = _best(lambda: [interpret(rule, VALUES, LISTS, NOW_MS) for rule in checked], 20)
    print(f"the same by the oracle: {seconds * 1e6:.0f} µs")
    regex = compile_rules([check(REGEX_RULE, SCOPE)], True).evaluate
    seconds = _best(lambda: regex(VALUES, LISTS, NOW_MS), 20_000)
    print(f"one rule that needs RE2: {seconds * 1e6:.2f} µs")
    seconds = _best(lambda: [check(rule, SCOPE) for rule in RULES], 3)
    print(f"check one rule: {seconds * 1e3 / len(RULES):.2f} ms")
    seconds = _best(lambda: compile_rules(checked, True), 3)
    print(f"compile 20 rules: {seconds * 1e3:.2f} ms")


def _best(call: Callable[[], object], number: int) -> float:
    """Seconds of CPU of one call."""
    return min(Timer(call, timer=process_time).repeat(5, number)) / number


if __name__ == "__main__":
    main()
