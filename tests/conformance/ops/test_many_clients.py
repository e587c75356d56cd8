"""Several clients at once: no number twice, nothing lost, one ACTIVE version."""

from concurrent.futures import ThreadPoolExecutor

CLIENTS = 8


def together(work, count: int) -> list:
    with ThreadPoolExecutor(CLIENTS) as threads:
        return list(threads.map(work, range(count)))


def test_versions_made_at_once_have_different_numbers(afd):
    made = together(
        lambda _: afd.c.create_detector_version(detectorId="det", rules=afd.RULES)["detectorVersionId"], 24
    )
    assert sorted(made, key=int) == [str(number) for number in range(3, 27)]
    rules = together(lambda _: afd.update_rule("big", "$amt > 1")["ruleVersion"], 24)
    assert sorted(rules, key=int) == [str(number) for number in range(2, 26)]


def test_versions_activated_at_once_leave_one_active(afd):
    for _ in range(8):
        afd.c.create_detector_version(detectorId="det", rules=afd.RULES)
    together(lambda number: afd.activate(str(number + 1)), 10)
    summaries = afd.c.describe_detector(detectorId="det")["detectorVersionSummaries"]
    statuses = [summary["status"] for summary in summaries]
    assert statuses.count("ACTIVE") == 1
    assert statuses.count("INACTIVE") == 9


def test_entries_appended_at_once_are_all_there(afd):
    afd.c.create_list(name="deny")
    together(lambda number: afd.c.update_list(name="deny", elements=[f"e{number}"], updateMode="APPEND"), 32)
    elements = afd.c.get_list_elements(name="deny")["elements"]
    assert sorted(elements) == sorted(f"e{number}" for number in range(32))


def test_one_of_many_creates_wins(afd):
    def create(_: int) -> bool:
        try:
            afd.mkrule("once", "$amt > 1")
        except afd.c.exceptions.ValidationException:
            return False
        return True

    assert together(create, 16).count(True) == 1


def test_decisions_go_on_while_versions_are_activated(afd):
    def work(number: int) -> list[str]:
        if number % 4 == 0:
            afd.activate(str(1 + number // 4 % 2))
            return []
        answer = afd.c.get_event_prediction(**afd.ev(f"e{number}", {"amt": "950"}))
        return [result["ruleId"] for result in answer["ruleResults"]]

    answers = together(work, 64)
    assert all(answer in ([], ["big"], ["big", "mid"]) for answer in answers)
    assert sum(answer != [] for answer in answers) == 48
