"""PURE: what the product knows about fraud. No clock, no I/O, no logging, no randomness, no framework.

Imports the standard library, the parser (lark) and the regex engine (re2) only, so that the same code runs
in the server, in training, in a backtest and inside a stream worker.
"""
