"""Composition root: the only place where adapters are built and put together."""

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from hawksnest import cli, commands
from hawksnest.app import App
from hawksnest.background import Background
from hawksnest.config import Settings
from hawksnest.console.live import LiveFeed
from hawksnest.console.pages import console
from hawksnest.event_bus import EventBus, open_target
from hawksnest.external import Endpoints, endpoint_addresses
from hawksnest.jobs import Trainings
from hawksnest.kms import EncryptionKeys
from hawksnest.metrics import Metrics
from hawksnest.ops.batch_jobs import resume_jobs
from hawksnest.ops.model_versions import resume_deployments
from hawksnest.ops.registry import served
from hawksnest.quotas import Quotas
from hawksnest.snapshot import Snapshots
from hawksnest.store.data_folder import open_catalog, open_store
from hawksnest.store.ports import Catalog
from hawksnest.stream.open import open_log
from hawksnest.wire.door import Door, refuse_open_door
from hawksnest.wire.keys import KeyRing, ensure_first_key
from hawksnest.wire.server import bind, serve
from hawksnest.wire.site import Site
from hawksnest.world import RealWorld, World

TOPICS = {
    "output": "processed_transactions",
    "truth": "transactions_truth",
    "alerts": "alerts_sent",
    "dead_letters": "transactions_dead_letter",
}

SWITCH_S = 0.0005

log = logging.getLogger("hawksnest")


@contextmanager
def open_app(settings: Settings, world: World) -> Iterator[App]:
    """Everything a server has in hand, opened and, at the end, closed. Raises UsageError."""
    endpoints = Endpoints(endpoint_addresses(settings.model_endpoints), settings.model_timeout_s, world)
    quotas = Quotas(settings.quotas, world)
    with (
        closing(EncryptionKeys(settings, world)) as keys,
        closing(open_store(settings, world, keys)) as store,
    ):
        snapshots = Snapshots(store.catalog, settings.data / "models", store.encryption.keys)
        trainings = Trainings(
            settings, world, store.catalog, snapshots.catalog_changed, store.encryption.keys
        )
        background = Background(world)
        try:
            yield App(
                settings=settings,
                world=world,
                catalog=store.catalog,
                ledger=store.ledger,
                states=store.states,
                snapshots=snapshots,
                trainings=trainings,
                endpoints=endpoints,
                quotas=quotas,
                background=background,
                encryption=store.encryption,
            )
        finally:
            background.close()
            trainings.close()
            endpoints.close()


class Hawksnest:
    """What the command offers that needs adapters; see `cli.Composition`."""

    def serve(self, settings: Settings) -> None:
        """Serve API and console until SIGINT or SIGTERM."""
        gc.disable()  # while everything is loaded, which is a quarter of the time to load it
        world = RealWorld()
        refuse_open_door(settings.no_auth, settings.host)
        listener = bind(settings.host, settings.port)
        port = listener.getsockname()[1]
        with listener, open_app(settings, world) as app:
            ensure_first_key(
                app.catalog, world, settings.data / "credentials", settings.account, settings.region
            )
            app.trainings.resume(app.catalog.tenants())
            resume_jobs(app)
            for key in resume_deployments(app):
                log.warning("Model version %s %s could not be deployed.", key.model_id, key.version)
            metrics = Metrics()
            bus = _event_bus(app, metrics)
            feed = LiveFeed(app, open_log(f"file://{settings.data / 'stream'}", world), TOPICS)
            door = Door(app, served(settings.preview_api), KeyRing(app.catalog, "frauddetector"), metrics)
            site = Site(app, door, metrics, console(feed))
            feed.start()
            if bus is not None:
                bus.start()
            _settle_memory()
            try:
                serve(
                    site,
                    settings.host,
                    port,
                    on_started=lambda: cli.say_started(settings, port),
                    on_stopping=feed.ask_to_stop,
                    listener=listener,
                )
            finally:
                feed.stop()
                if bus is not None:
                    bus.stop()
                door.close()

    @contextmanager
    def catalog(self, settings: Settings) -> Iterator[Catalog]:
        """The resources alone, beside a running server or without one."""
        catalog = open_catalog(settings.data, RealWorld())
        try:
            yield catalog
        finally:
            catalog.close()


def _event_bus(app: App, metrics: Metrics) -> EventBus | None:
    """The sender of events, if the settings name a receiver. Raises UsageError."""
    target = open_target(app.settings)
    if target is None:
        return None
    bus = EventBus(app, target, app.settings.data / "event-bus.cursor")
    metrics.gauge("hawksnest_event_bus_lag", lambda: bus.lag)
    metrics.gauge("hawksnest_event_bus_dropped", lambda: bus.dropped)
    return bus


def _settle_memory() -> None:
    """What is loaded now lives as long as the process: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
    # The event loop gives the interpreter lock up at every sync and gets it back only after this long when
    # the projections are busy; the default is 5 ms.
    sys.setswitchinterval(SWITCH_S)


def run() -> None:
    """Entry point of the command."""
    commands.register(cli.cli)
    cli.main(Hawksnest())
