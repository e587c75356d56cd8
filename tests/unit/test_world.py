import uuid

from hawksnest.world import ManualWorld, RealWorld


def test_real_ids_are_version_four_and_never_the_same() -> None:
    world = RealWorld()
    made = [world.uuid() for _ in range(1_000)]
    assert len(set(made)) == 1_000
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_a_manual_world_repeats_itself_for_the_same_seed() -> None:
    one, other = ManualWorld(seed=3), ManualWorld(seed=3)
    assert [one.uuid(), one.token(8)] == [other.uuid(), other.token(8)]
