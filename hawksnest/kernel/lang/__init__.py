"""DETECTORPL, the rule language: check, compile, interpret, explain."""
