"""Acid tests H: stored events, as a real boto3 sees them."""


def stored(afd, event_id: str = "s1") -> dict:
    return afd.c.get_event(eventId=event_id, eventTypeName="pay")["event"]


def test_h1_an_event_is_stored_as_it_was_sent(afd):
    assert afd.done(afd.c.send_event(**afd.se("s1", {"amt": "5"})))
    assert stored(afd) == {
        "eventId": "s1",
        "eventTypeName": "pay",
        "eventTimestamp": afd.T,
        "eventVariables": {"amt": "5"},
        "entities": [{"entityType": "customer", "entityId": "c1"}],
    }


def test_h2_a_label_and_its_time_come_together(afd):
    afd.ve(afd.c.send_event, **afd.se("s1", {"amt": "5"}, assignedLabel="fraud"))
    afd.ve(afd.c.send_event, **afd.se("s1", {"amt": "5"}, labelTimestamp=afd.T))
    afd.rnf(afd.c.get_event, eventId="s1", eventTypeName="pay")


def test_h3_a_label_belongs_to_the_event_type(afd):
    afd.ve(afd.c.send_event, **afd.se("s1", {"amt": "5"}, assignedLabel="nope", labelTimestamp=afd.T))


def label(afd, event_id: str = "s1", name: str = "fraud", at: str | None = None, **other):
    request = {"eventId": event_id, "eventTypeName": "pay", "assignedLabel": name}
    return afd.c.update_event_label(**request | {"labelTimestamp": at or afd.T} | other)


def test_h4_a_stored_event_is_labelled_and_the_last_label_wins(afd):
    afd.c.send_event(**afd.se("s1", {"amt": "5"}))
    assert afd.done(label(afd))
    assert (stored(afd)["currentLabel"], stored(afd)["labelTimestamp"]) == ("fraud", afd.T)
    label(afd, name="legit", at=afd.T2)
    assert (stored(afd)["currentLabel"], stored(afd)["labelTimestamp"]) == ("legit", afd.T2)


def test_h5_only_a_stored_event_is_labelled(afd):
    afd.rnf(label, afd, "zz")
    afd.rnf(label, afd, eventTypeName="nope")
    afd.c.send_event(**afd.se("s1", {"amt": "5"}))
    afd.ve(label, afd, name="nope")
    afd.ve(label, afd, at="once upon a time")


def test_h5_an_event_that_was_only_predicted_is_not_labelled(afd):
    afd.c.put_event_type(
        name="pay",
        eventVariables=["email", "amt", "vip"],
        entityTypes=["customer"],
        labels=["fraud", "legit"],
        eventIngestion="DISABLED",
    )
    afd.c.get_event_prediction(**afd.ev("e1", {"amt": "5"}))
    afd.rnf(label, afd, "e1")
    afd.rnf(afd.c.get_event, eventId="e1", eventTypeName="pay")


def test_h6_h17_what_is_unknown_is_not_found(afd):
    afd.rnf(afd.c.get_event, eventId="zz", eventTypeName="pay")
    afd.rnf(afd.c.get_event, eventId="zz", eventTypeName="nope")
    afd.rnf(afd.c.send_event, **afd.se("s1", {"amt": "5"}, eventTypeName="nope"))


def test_h7_an_event_type_that_stores_nothing_takes_no_events(afd):
    afd.c.put_event_type(
        name="off", eventVariables=["amt"], entityTypes=["customer"], eventIngestion="DISABLED"
    )
    afd.ve(afd.c.send_event, **afd.se("s1", {"amt": "5"}, eventTypeName="off"))


def test_h8_a_predicted_event_is_stored_without_label(afd):
    afd.c.get_event_prediction(**afd.ev("e1", {"amt": "950"}))
    assert stored(afd, "e1")["eventVariables"] == {"amt": "950"}
    assert "currentLabel" not in stored(afd, "e1")


def test_h9_an_event_of_the_future_is_refused(afd):
    """Any past time is taken by default; that too old an event is refused is a quota (see test_quotas.py)."""
    afd.ve(afd.c.send_event, **afd.se("s1", {"amt": "5"}, eventTimestamp=afd.FUTURE))


def test_h10_an_event_id_keeps_its_time(afd):
    afd.c.send_event(**afd.se("s1", {"amt": "5"}))
    afd.ce(afd.c.send_event, **afd.se("s1", {"amt": "5"}, eventTimestamp=afd.T2))


def test_h11_sending_again_replaces_the_event_and_keeps_its_label(afd):
    afd.c.send_event(**afd.se("s1", {"amt": "5"}, assignedLabel="fraud", labelTimestamp=afd.T))
    assert afd.done(afd.c.send_event(**afd.se("s1", {"amt": "6"})))
    assert stored(afd)["eventVariables"] == {"amt": "6"}
    assert stored(afd)["currentLabel"] == "fraud"
    statistics = afd.c.get_event_types(name="pay")["eventTypes"][0]["ingestedEventStatistics"]
    assert statistics["numberOfEvents"] == 1


def test_h12_what_does_not_fit_the_event_type_is_refused(afd):
    send = afd.c.send_event
    afd.ve(send, **afd.se("s1", {"nope": "5"}))
    afd.ve(send, **afd.se("s1", {"amt": "abc"}))
    afd.ve(send, **afd.se("s1", {"amt": "5"}, entities=[{"entityType": "nope", "entityId": "c1"}]))
    afd.ve(send, **afd.se("s1", {"amt": "5"}, entities=[]))
    afd.ve(send, **afd.se("s1", {"amt": "5"}, eventTimestamp="yesterday!!!"))


def test_h13_an_event_is_deleted_and_deleted_again(afd):
    afd.c.send_event(**afd.se("s1", {"amt": "5"}))
    for _ in range(2):
        assert afd.done(afd.c.delete_event(eventId="s1", eventTypeName="pay"))
    afd.rnf(afd.c.get_event, eventId="s1", eventTypeName="pay")
    assert afd.done(afd.c.delete_event(eventId="s1", eventTypeName="nope"))
    assert "ingestedEventStatistics" not in afd.c.get_event_types(name="pay")["eventTypes"][0]


def test_h13_a_deleted_event_id_is_free_for_another_time(afd):
    afd.c.send_event(**afd.se("s1", {"amt": "5"}))
    afd.c.delete_event(eventId="s1", eventTypeName="pay")
    assert afd.done(afd.c.send_event(**afd.se("s1", {"amt": "5"}, eventTimestamp=afd.T2)))
