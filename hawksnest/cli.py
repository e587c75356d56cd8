"""The command: `hawksnest serve | demo | keys | simulate | replay | stream | alert`.

Exit codes: 0 done, 1 the work failed, 2 wrong use or environment. Every option of the tables in config.py
has an environment twin; `--help` names it.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

import click

from hawksnest import __version__
from hawksnest.config import PROCESS, SERVE, Option, Settings, from_environment
from hawksnest.errors import HawksnestError, UsageError
from hawksnest.store.ports import Catalog
from hawksnest.wire.keys import create_key, delete_key, list_keys
from hawksnest.world import RealWorld, iso_ms

F = TypeVar("F", bound=Callable[..., Any])


class Composition(Protocol):
    """What the composition root offers to the commands that need adapters."""

    def serve(self, settings: Settings) -> None:
        """Serve until SIGINT or SIGTERM."""

    def catalog(self, settings: Settings) -> AbstractContextManager[Catalog]:
        """The resources of the data folder, beside a running server or without one."""


def options(*tables: tuple[Option, ...]) -> Callable[[F], F]:
    """Turn rows of the settings table into command-line options."""

    def decorate(function: F) -> F:
        for option in reversed([each for table in tables for each in table]):
            kind: dict[str, Any] = {"is_flag": True} if option.parse is bool else {"type": option.parse}
            function = click.option(
                f"--{option.name}",
                default=lambda option=option: from_environment(option),
                show_default=str(option.default) if option.default != "" else "none",
                help=f"{option.help} [env: {option.variable}]",
                **kind,
            )(function)
        return function

    return decorate


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop


def end_with(parent: int) -> None:
    """Send SIGTERM to this process once `parent` is no longer its parent; 0: never."""
    if not parent:
        return

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def say_started(settings: Settings, port: int) -> None:
    """What a person wants to know once the server listens."""
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    click.echo(f"Hawksnest serves http://{shown}:{port} (pages: /console/, data: {settings.data})")
    if not settings.no_auth:
        click.echo(
            f"Try: AWS_SHARED_CREDENTIALS_FILE={settings.data / 'credentials'} "
            f"aws frauddetector get-detectors --endpoint-url http://{shown}:{port}"
        )


def show(as_json: bool, value: dict[str, Any], text: str) -> None:
    """The result: one JSON object or text for a person."""
    click.echo(json.dumps(value) if as_json else text)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="hawksnest")
def cli() -> None:
    """Hawksnest: the fraud detector that you run yourself.

    Start with `hawksnest demo`, or serve the API with `hawksnest serve` and point any AWS client at it:

    \b
      AWS_SHARED_CREDENTIALS_FILE=hawksnest-data/credentials \\
        aws frauddetector get-detectors --endpoint-url http://127.0.0.1:8420
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


@cli.command()
@options(SERVE, PROCESS)
@click.pass_obj
def serve(composition: Composition, /, parent: int, **given: Any) -> None:
    """Serve the API and the console from one data folder.

    The first start writes an access key to DATA/credentials. Ctrl-C stops cleanly.
    """
    end_with(parent)
    composition.serve(Settings.of(**given))


@cli.group()
def keys() -> None:
    """Access keys: who may call, and for which account; and encryption keys in a key file."""


_DATA = tuple(option for option in SERVE if option.name in ("data", "region"))


@keys.command("create")
@options(_DATA)
@click.option("--account", default="000000000000", show_default=True, help="12-digit account of the key.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_obj
def keys_create(composition: Composition, /, account: str, as_json: bool, **given: Any) -> None:
    """Create a key; its secret is shown once, here."""
    with composition.catalog(Settings.of(**given)) as catalog:
        key = create_key(catalog, RealWorld(), account)
    shown = {"access_key_id": key.access_key_id, "secret_access_key": key.secret, "account": key.account}
    show(as_json, shown, "\n".join(f"{name} = {value}" for name, value in shown.items()))


@keys.command("list")
@options(_DATA)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_obj
def keys_list(composition: Composition, /, as_json: bool, **given: Any) -> None:
    """List the keys, without their secrets."""
    with composition.catalog(Settings.of(**given)) as catalog:
        found = [
            {
                "access_key_id": key.access_key_id,
                "account": key.account,
                "created_at": iso_ms(key.created_at_ms),
                "description": key.description or "",
            }
            for key in list_keys(catalog)
        ]
    show(as_json, {"keys": found}, "\n".join("  ".join(each.values()) for each in found))


@keys.command("delete")
@click.argument("access_key_id")
@options(_DATA)
@click.pass_obj
def keys_delete(composition: Composition, /, access_key_id: str, **given: Any) -> None:
    """Delete a key; calls signed with it are refused from then on."""
    with composition.catalog(Settings.of(**given)) as catalog:
        delete_key(catalog, access_key_id)


@keys.command("create-encryption-key")
@options(tuple(option for option in SERVE if option.name in ("key-file", "region")))
@click.option("--account", default="000000000000", show_default=True, help="12-digit account in its ARN.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def keys_create_encryption_key(account: str, as_json: bool, key_file: str, region: str) -> None:
    """Add an encryption key to the key file and print its ARN, for PutKMSEncryptionKey.

    Whoever loses the file loses what its keys have sealed: keep a copy in another place.
    """
    from hawksnest.kms import KeyFile

    if not key_file:
        raise UsageError("Name the file with --key-file.")
    Settings.of(account=account, region=region)
    arn = KeyFile(Path(key_file)).create(region, account, RealWorld())
    show(as_json, {"kms_encryption_key_arn": arn}, arn)


def main(composition: Composition) -> None:
    """Run the command and turn errors into one sentence and an exit code."""
    try:
        cli.main(obj=composition, standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as fault:
        fault.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except UsageError as fault:
        click.echo(f"hawksnest: {fault}", err=True)
        sys.exit(2)
    except HawksnestError as fault:
        click.echo(f"hawksnest: {fault}", err=True)
        sys.exit(1)
