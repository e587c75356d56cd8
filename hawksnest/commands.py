"""The commands around a server: demo, stream, alert, simulate, replay."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from hawksnest.cli import end_with, options, show, stop_on_signals
from hawksnest.config import ALERT, CLIENT, DEMO, LOG, PROCESS, REPLAY, SIMULATE, STREAM
from hawksnest.errors import HawksnestError, UsageError

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")


@click.command()
@options(DEMO)
@as_json
def demo(as_json: bool, data: str, **given: Any) -> None:
    """The main job on one machine: payments in, decisions out, blocked ones mailed, all of it live.

    Serves the API, sends a month of labelled payments, trains a model on it, publishes rules, then lets
    payers and attackers loose. Open http://127.0.0.1:8420/console/ to watch. Ctrl-C ends it with a summary.
    """
    from hawksnest.demo.run import DemoOptions, run_demo

    if given["rate"] <= 0 or given["rate"] > 2_000 or given["seconds"] < 0:
        raise UsageError("--rate takes a number above 0 up to 2000, --seconds 0 or more.")
    stop = stop_on_signals()
    screen = _Terminal()
    try:
        summary = run_demo(DemoOptions(data=Path(data) if data else None, **given), stop, screen)
    finally:
        screen.close()
    show(as_json, summary, _demo_text(summary))


class _Terminal:
    """Progress for a person, on the error stream so that results can be piped."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._progress: Progress | None = None

    def say(self, text: str) -> None:
        """One line."""
        self._end_progress()
        self._console.print(text, markup=False, highlight=False)

    def step(self, text: str) -> Callable[[float, str], None]:
        """A bar with a text."""
        self._end_progress()
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[about]}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=self._console)
        progress, task = self._progress, self._progress.add_task(text, total=1.0, about="")
        progress.start()
        return lambda share, about: progress.update(task, completed=share, about=about)

    def live(self, counts: dict[str, Any]) -> None:
        """Figures of the running stream, in one line that is written over."""
        self._end_progress()
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        line = (f"{name} {value:,}" for name, value in counts.items())
        self._live.update(Text(" · ".join(line) + "   (Ctrl-C ends)"), refresh=True)

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._end_progress()
        if self._live is not None:
            self._live.stop()


def _demo_text(summary: dict[str, Any]) -> str:
    if "fraud" not in summary:
        return "Stopped before the stream began."
    fraud, rules, latency = summary["fraud"], summary["rules_only"], summary["latency_ms"]
    return "\n".join(
        (
            f"{summary['transactions']:,} payments, {summary['decisions']:,} decisions, "
            f"{summary['blocked']:,} blocked, {summary['mails']:,} mails; "
            f"lost {summary['lost']}, decided twice {summary['duplicates']}, "
            f"dead letters {summary['dead_letters']}.",
            f"Fraud: {fraud['caught']} caught, {fraud['missed']} missed, "
            f"{fraud['false_alarms']} false alarms; "
            f"{fraud['money_stopped_share']:.1%} of fraudulent money stopped, "
            f"{fraud['legit_blocked_share']:.2%} of good payments blocked.",
            f"Rules alone: {rules['money_stopped_share']:.1%} of the money, "
            f"{rules['legit_blocked_share']:.2%} of good payments blocked.",
            f"From payment to decision: p50 {latency['p50']} ms, p99 {latency['p99']} ms.",
        )
    )


@click.command()
@options(LOG, STREAM, CLIENT, PROCESS)
@as_json
def stream(as_json: bool, parent: int, **given: Any) -> None:
    """The pipeline: input topic, decision, output topic.

    Calls GetEventPrediction of the server at --endpoint for each record, as a customer would. Records that
    can never be decided go to the dead-letter topic with the reason.
    """
    from hawksnest.client import Client, read_credentials
    from hawksnest.stream.open import open_log
    from hawksnest.stream.pipeline import StreamOptions, run_stream

    end_with(parent)
    stop = stop_on_signals()
    log = open_log(given["log"])
    try:
        credentials = read_credentials(Path(given["credentials"]), given["region"])
        summary = run_stream(
            log,
            lambda: Client(given["endpoint"], credentials, pool=1),
            _mapping(given["map"], given["input_topic"], given["output_topic"]),
            StreamOptions(
                state=Path(given["state"]),
                group=given["group"],
                start=given["start"],
                lanes=given["concurrency"],
                dead_letter_share=given["dead_letter_limit"],
            ),
            stop,
        )
    finally:
        log.close()
    show(
        as_json,
        asdict(summary),
        f"{summary.read:,} read, {summary.decided:,} decided, {summary.dead_letters:,} dead letters.",
    )
    if summary.stopped_because:
        raise HawksnestError(summary.stopped_because)


def _mapping(path: str, input_topic: str = "", output_topic: str = "") -> Any:
    from hawksnest.stream.mapping import Mapping, load_mapping

    mapping = load_mapping(Path(path)) if path else Mapping()
    return replace(
        mapping,
        input_topic=input_topic or mapping.input_topic,
        output_topic=output_topic or mapping.output_topic,
    )


@click.command()
@options(LOG, ALERT, PROCESS)
@as_json
def alert(as_json: bool, parent: int, **given: Any) -> None:
    """Mail people about blocked events, once each; above a rate a digest takes the place of single mails."""
    from hawksnest.stream.alerts import AlertOptions, run_alerts
    from hawksnest.stream.mail import Mailer, SmtpSettings
    from hawksnest.stream.open import open_log
    from hawksnest.world import RealWorld

    end_with(parent)
    stop = stop_on_signals()
    host, _, port = given["smtp"].rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--smtp {given['smtp']!r} must be HOST:PORT.")
    settings = SmtpSettings(
        host=host,
        port=int(port),
        sender=given["sender"],
        starttls=given["starttls"],
        user=given["smtp_user"],
        password=given["smtp_password"],
    )
    log = open_log(given["log"])
    try:
        summary = run_alerts(
            log,
            Mailer(settings, RealWorld()),
            AlertOptions(
                state=Path(given["state"]),
                recipients=_listed(given["recipients"]),
                outcomes=frozenset(_listed(given["outcomes"])),
                topic=given["topic"],
                mails_per_minute=given["mails_per_minute"],
            ),
            stop,
        )
    finally:
        log.close()
    show(as_json, asdict(summary), f"{summary.flagged:,} events flagged, {summary.mails:,} mails sent.")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options(LOG, REPLAY)
@as_json
def replay(file: Path, map: str, rate: float, limit: int, as_json: bool, log: str) -> None:  # noqa: A002
    """Send the rows of a CSV or Parquet FILE of real transactions into the input topic.

    Labels never travel with their rows: they go to the topic INPUT_truth.
    """
    from hawksnest.stream.open import open_log
    from hawksnest.stream.replay import replay as send

    stop = stop_on_signals()
    opened = open_log(log)
    screen = _Terminal()
    try:
        summary = send(
            file,
            _mapping(map),
            opened,
            rate or None,
            limit or None,
            stop,
            lambda counts: screen.live({"rows": counts.rows, "sent": counts.sent}),
        )
    finally:
        screen.close()
        opened.close()
    show(as_json, asdict(summary), f"{summary.rows:,} rows read, {summary.sent:,} sent.")


@click.command()
@options(LOG, SIMULATE)
@as_json
def simulate(as_json: bool, log: str, topic: str, out: str, **given: Any) -> None:
    """Payers with habits and attackers, as records of the input topic.

    What really is fraud never travels with a payment. The reference's 30 payments a minute is --rate 0.5.
    """
    from hawksnest.simulate.run import Plan, run_simulate
    from hawksnest.stream.open import open_log

    if bool(topic) == bool(out):
        raise UsageError("Name either --topic or --out.")
    stop = stop_on_signals()
    plan = Plan(
        given["seed"],
        count=given["count"] or None,
        rate=given["rate"] or None,
        seconds=given["seconds"] or None,
    )
    opened = open_log(log) if topic else None
    screen = _Terminal()
    try:
        summary = run_simulate(
            plan,
            topic or Path(out),
            opened,
            stop=stop,
            report=lambda counts: screen.live(asdict(counts)),
        )
    finally:
        screen.close()
        if opened is not None:
            opened.close()
    shown = asdict(summary)
    show(as_json, shown, ", ".join(f"{name} {value}" for name, value in shown.items()))


def register(group: click.Group) -> None:
    """Add these commands to the command line."""
    for command in (demo, stream, alert, simulate, replay):
        group.add_command(command)
