"""One frozen `Settings`, one table of options with their environment twins.

The table drives the command line (`cli.py`), the environment and `docs/settings.md`; nothing else reads
the environment.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hawksnest.errors import UsageError


@dataclass(frozen=True)
class Option:
    """One setting: its name (`--name`, `HAWKSNEST_NAME`), default and what it does."""

    name: str
    default: Any
    help: str
    parse: type = str
    twin: str = ""  # where two commands mean different things by one name
    low: float | None = None  # bounds of a number, inclusive
    high: float | None = None
    pattern: str = ""  # what a text must be, whole; `wanted` says it in words
    wanted: str = ""

    @property
    def variable(self) -> str:
        """The environment twin."""
        return "HAWKSNEST_" + (self.twin or self.name).upper().replace("-", "_")

    def check(self, value: Any) -> None:
        """Raises UsageError when the value is out of bounds."""
        if self.pattern and not re.fullmatch(self.pattern, str(value)):
            raise UsageError(f"{self.name} is {str(value)!r}; it takes {self.wanted}.")
        if self.low is not None and not value >= self.low:  # NaN is not, either
            raise UsageError(f"{self.name} is {value}; it takes {self.low:,} or more.")
        if self.high is not None and not value <= self.high:
            raise UsageError(f"{self.name} is {value}; it takes at most {self.high:,}.")


SERVE = (
    Option("host", "127.0.0.1", "Address to listen on."),
    Option("port", 8420, "Port to listen on.", int, low=0, high=65_535),
    Option("data", "hawksnest-data", "Folder that holds everything Hawksnest keeps."),
    Option(
        "region",
        "us-east-1",
        "Region used where a request names none.",
        pattern="[a-z0-9-]{3,20}",
        wanted="3 to 20 characters out of a-z, 0-9 and -",
    ),
    Option(
        "no-auth", False, "Accept unsigned requests; refused unless the host is a loopback address.", bool
    ),
    Option(
        "account",
        "000000000000",
        "Account used where a request names none (12 digits).",
        pattern="[0-9]{12}",
        wanted="12 digits",
    ),
    Option(
        "body-limit",
        1_048_576,
        "Largest request body in bytes; more is refused before it is read.",
        int,
        low=1_024,
        high=4_194_304,  # what it becomes must fit a record of the journal
    ),
    Option(
        "list-body-limit",
        36_000_000,
        "The same for CreateList and UpdateList (100,000 entries fit).",
        int,
        low=1_024,
        high=1_000_000_000,
    ),
    Option("eager-sync-ms", 5.0, "A journal sync slower than this moves to a thread.", float, low=0),
    Option(
        "s3-endpoint",
        "",
        "S3 endpoint for s3:// paths; empty: DATA/buckets serves them.",
        pattern="(https?://.+)?",
        wanted="an http or https address",
    ),
    Option(
        "model-endpoints",
        "",
        "Addresses of external models: NAME=URL,… or a TOML or INI file with a section [endpoints].",
    ),
    Option(
        "model-timeout-s",
        5.0,
        "Longest time for one call of an external model, retries included.",
        float,
        low=0.001,
        high=3_600,
    ),
    Option(
        "eventbridge-endpoint",
        "",
        "Endpoint that takes an event of each prediction by PutEvents, where the event type asks for it.",
    ),
    Option("event-bus-name", "default", "Event bus that PutEvents names."),
    Option("event-webhook", "", "URL that takes these events as JSON by POST instead."),
    Option(
        "key-file",
        "",
        "File of encryption keys for PutKMSEncryptionKey, made by `hawksnest keys create-encryption-key`.",
    ),
    Option(
        "kms-endpoint",
        "",
        "AWS-KMS-compatible endpoint that holds encryption keys for PutKMSEncryptionKey.",
        pattern="(https?://.+)?",
        wanted="an http or https address",
    ),
    Option("kms-credentials", "", "File with the access key for that endpoint, in AWS's INI form."),
    Option(
        "kms-timeout-s",
        5.0,
        "Longest time for one call of that endpoint, a second try included.",
        float,
        low=0.01,
        high=60,
    ),
    Option("preview-api", "on", "Serve the preview API of April 2020 beside today's: on or off."),
    Option("quotas", "none", "Quotas held: none (only what protects the server) or aws (AWS's numbers)."),
    Option("training-threads", 2, "Threads a training may use.", int, low=1, high=1_024),
    Option("fail-point", "", "For crash tests only: NAME or NAME:N, where the process kills itself."),
)


CLIENT = (
    Option("endpoint", "http://127.0.0.1:8420", "Address of the Hawksnest server."),
    Option("credentials", "hawksnest-data/credentials", "File with the access key, in AWS's INI form."),
    Option("region", "us-east-1", "Region to work in."),
)

LOG = (Option("log", "file://hawksnest-data/stream", "Where topics live: file://DIR or kafka://HOST:PORT."),)

STREAM = (
    Option("input-topic", "", "Topic to read transactions from; empty: the mapping's."),
    Option("output-topic", "", "Topic to write decisions to; empty: the mapping's."),
    Option("map", "", "TOML file that says how records become events; empty: the reference layout."),
    Option("group", "hawksnest-stream", "Consumer group whose offsets are committed."),
    Option("start", "committed", "Where to begin: committed, latest, earliest or an ISO time."),
    Option("concurrency", 8, "Predictions in flight at once.", int),
    Option("dead-letter-limit", 0.25, "Share of dead letters that stops the stream.", float),
    Option(
        "state",
        "hawksnest-data/stream-state",
        "Folder for what the stream must remember.",
        twin="stream-state",
    ),
)

ALERT = (
    Option("topic", "processed_transactions", "Topic to read decisions from."),
    Option("smtp", "127.0.0.1:25", "Mail server, HOST:PORT."),
    Option("smtp-user", "", "Name to log in with; empty: no login."),
    Option("smtp-password", "", "Password to log in with; better given by its environment variable."),
    Option("starttls", False, "Encrypt the connection with STARTTLS.", bool),
    Option("sender", "hawksnest@localhost", "Address that mails come from."),
    Option("recipients", "fraud-team@localhost", "Addresses that mails go to, separated by commas."),
    Option("outcomes", "block", "Outcomes that raise a mail, separated by commas."),
    Option("mails-per-minute", 30, "Above this rate a digest takes the place of single mails.", int),
    Option("state", "hawksnest-data/alert-state", "Folder for what was mailed already.", twin="alert-state"),
)

DEMO = (
    Option("port", 8420, "Port of the API and the live page.", int),
    Option("data", "", "Data folder; empty: a fresh one that goes away at the end.", twin="demo-data"),
    Option("rate", 50.0, "Payments per second.", float),
    Option("seconds", 0.0, "How long payments come; 0: until Ctrl-C.", float),
    Option("seed", 7, "Same seed, same payers and attackers.", int),
    Option("smtp", "", "Mail server HOST:PORT; empty: mails are caught and shown.", twin="demo-smtp"),
)

SIMULATE = (
    Option("count", 0, "Payments to make, dated back from now; with a rate: at most so many.", int),
    Option(
        "rate", 0.0, "Payments per second, in real time; 0: as fast as it goes.", float, twin="simulate-rate"
    ),
    Option("seconds", 0.0, "With a rate: how long; 0: until Ctrl-C.", float),
    Option("seed", 7, "Same seed, same payers and attackers.", int),
    Option("topic", "", "Topic to send to; the truth goes to TOPIC_truth.", twin="simulate-topic"),
    Option("out", "", "File to write: .jsonl, .csv or .parquet; the truth goes beside it."),
)

REPLAY = (
    Option("map", "", "TOML file that says how rows become events; empty: the reference layout."),
    Option("rate", 0.0, "Rows per second; 0: as fast as it goes.", float, twin="replay-rate"),
    Option("limit", 0, "Rows to send at most; 0: all.", int),
)

PROCESS = (Option("parent", 0, "Process id that this process ends with; 0: none.", int),)


@dataclass(frozen=True)
class Settings:
    """What a server runs with."""

    host: str
    port: int
    data: Path
    region: str
    no_auth: bool
    account: str
    body_limit: int
    list_body_limit: int
    eager_sync_ms: float
    s3_endpoint: str
    model_endpoints: str
    model_timeout_s: float
    eventbridge_endpoint: str
    event_bus_name: str
    event_webhook: str
    key_file: str
    kms_endpoint: str
    kms_credentials: str
    kms_timeout_s: float
    preview_api: str
    quotas: str
    training_threads: int
    fail_point: str

    @classmethod
    def of(cls, **given: Any) -> "Settings":
        """Settings from defaults, overridden by `given`. Raises UsageError for a value out of bounds."""
        values = {option.name.replace("-", "_"): option.default for option in SERVE} | given
        for option in SERVE:
            option.check(values[option.name.replace("-", "_")])
        values["data"] = Path(values["data"])
        return cls(**values)


TABLES = {
    "serve": SERVE,
    "demo": DEMO,
    "stream": LOG + STREAM + CLIENT,
    "alert": LOG + ALERT,
    "simulate": LOG + SIMULATE,
    "replay": LOG + REPLAY,
}


def settings_page() -> str:
    """`docs/settings.md`: every option with its environment twin, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Every option of a command has an environment twin; the option wins. Made from the tables in",
        "`hawksnest/config.py` by `python -m hawksnest.config`.",
    ]
    for command, table in TABLES.items():
        lines += [
            "",
            f"## hawksnest {command}",
            "",
            "| option | variable | default | meaning |",
            "|---|---|---|---|",
        ]
        for option in table:
            default = f"`{option.default}`" if option.default != "" else "–"
            lines.append(f"| `--{option.name}` | `{option.variable}` | {default} | {option.help} |")
    return "\n".join(lines) + "\n"


def parse_text(option: Option, text: str) -> Any:
    """The value of an option given as text (environment).

    Raises UsageError that names the variable, the value and what would be right.
    """
    try:
        if option.parse is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}[
                text.lower()
            ]
        return option.parse(text)
    except (ValueError, KeyError):
        wanted = "true or false" if option.parse is bool else f"a value like {option.default!r}"
        raise UsageError(f"{option.variable} is {text!r}; it takes {wanted}.") from None


def from_environment(option: Option, environment: Mapping[str, str] | None = None) -> Any:
    """The option's value: its environment twin if set, else its default."""
    text = (os.environ if environment is None else environment).get(option.variable)
    return option.default if text is None else parse_text(option, text)


if __name__ == "__main__":
    Path("docs/settings.md").write_text(settings_page())
