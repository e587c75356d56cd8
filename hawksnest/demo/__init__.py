"""`hawksnest demo`: the main job on one machine, built through the public API as a customer would."""
