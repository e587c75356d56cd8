"""`python -m hawksnest` is the command."""

from hawksnest.main import run

run()
