"""Calls of external models: `POST /invocations` of the HTTP(S) address that the settings give an endpoint.

Bounded in everything: time of a call with its retries, size of the answer, calls at once to an endpoint.
After several failures in a row an endpoint is left alone for a while, and then tried with one call (circuit
breaker). Blocks: never used on the event loop.
"""

import configparser
import logging
import threading
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import tenacity
import urllib3

from hawksnest.errors import ServiceError, UsageError
from hawksnest.world import World

PATH = "/invocations"
SECTION = "endpoints"
ANSWER_MAX_BYTES = 1 << 20
INPUT_MAX_BYTES = 1 << 20
CALLS_AT_ONCE_MAX = 16  # to one endpoint; more wait, inside their time limit
ATTEMPTS_MAX = 3
BACKOFF_S = 0.05
CONNECT_TIMEOUT_S = 2.0
OPENS_AFTER = 5  # failures in a row
STAYS_OPEN_S = 10.0
ENDPOINTS_MAX = 1_000

_CHUNK_BYTES = 65_536
_log = logging.getLogger(__name__)


class EndpointFault(ServiceError):
    """ResourceUnavailableException: an external model could not be asked or did not answer as it should."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(
            "ResourceUnavailableException", f"External model endpoint {endpoint} is unavailable: {reason}."
        )


class _Failed(Exception):
    """One attempt failed; `again`: another one may succeed."""

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


@dataclass
class _State:
    """What is remembered of an endpoint; guarded by `lock`."""

    pool: urllib3.PoolManager
    slots: threading.BoundedSemaphore
    lock: threading.Lock = field(default_factory=threading.Lock)
    failures: int = 0  # in a row
    open_until_s: float = 0.0
    probing: bool = False


class Endpoints:
    """The external models that this server can call. Safe to use from several threads."""

    def __init__(self, addresses: dict[str, str], timeout_s: float, world: World) -> None:
        """`addresses`: URL by endpoint name; `timeout_s`: of a call with all its attempts."""
        self._addresses = {name: _invocations(url) for name, url in addresses.items()}
        self._timeout_s = timeout_s
        self._world = world
        self._states: dict[str, _State] = {}
        self._lock = threading.Lock()

    def invoke(self, endpoint: str, body: bytes, content_type: str) -> bytes:
        """The endpoint's answer to one input.

        Raises ServiceError (ResourceUnavailableException) when it has no address, fails, takes too long, or
        has failed so often that it is left alone.
        """
        url = self._addresses.get(endpoint)
        if url is None:
            raise EndpointFault(
                endpoint, "this server has no address for it; start it with --model-endpoints NAME=URL"
            )
        if len(body) > INPUT_MAX_BYTES:
            raise EndpointFault(endpoint, f"its input is larger than {INPUT_MAX_BYTES} bytes")
        state = self._state(endpoint)
        until_s = self._world.monotonic_s() + self._timeout_s
        self._enter(endpoint, state)
        good = False
        try:
            if not state.slots.acquire(timeout=self._timeout_s):
                raise EndpointFault(endpoint, f"{CALLS_AT_ONCE_MAX} calls wait for it already")
            try:
                answer = self._attempts(state, url, body, content_type, until_s)
            finally:
                state.slots.release()
            good = True
            return answer
        except _Failed as failed:
            raise EndpointFault(endpoint, str(failed)) from None
        finally:
            self._leave(endpoint, state, good)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            for state in self._states.values():
                state.pool.clear()

    def _state(self, endpoint: str) -> _State:
        with self._lock:
            state = self._states.get(endpoint)
            if state is None:
                pool = urllib3.PoolManager(num_pools=1, maxsize=CALLS_AT_ONCE_MAX, retries=False)
                state = _State(pool, threading.BoundedSemaphore(CALLS_AT_ONCE_MAX))
                self._states[endpoint] = state
            return state

    def _enter(self, endpoint: str, state: _State) -> None:
        """Raises EndpointFault while the endpoint is left alone; lets one call through when that ends."""
        with state.lock:
            if state.failures < OPENS_AFTER:
                return
            if state.probing or self._world.monotonic_s() < state.open_until_s:
                raise EndpointFault(endpoint, f"it failed {state.failures} times in a row and is left alone")
            state.probing = True

    def _leave(self, endpoint: str, state: _State, good: bool) -> None:
        with state.lock:
            state.probing = False
            if good:
                state.failures = 0
                return
            state.failures += 1
            if state.failures >= OPENS_AFTER:
                state.open_until_s = self._world.monotonic_s() + STAYS_OPEN_S
                if state.failures == OPENS_AFTER:
                    _log.warning("External model endpoint %s failed %d times.", endpoint, state.failures)

    def _attempts(self, state: _State, url: str, body: bytes, content_type: str, until_s: float) -> bytes:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS_MAX),
            wait=tenacity.wait_exponential(multiplier=BACKOFF_S),
            retry=tenacity.retry_if_exception(lambda fault: isinstance(fault, _Failed) and fault.again),
            reraise=True,
        )
        return retrying(self._attempt, state, url, body, content_type, until_s)

    def _attempt(self, state: _State, url: str, body: bytes, content_type: str, until_s: float) -> bytes:
        left_s = until_s - self._world.monotonic_s()
        late = _Failed(f"no answer within {self._timeout_s:g} s", again=False)
        if left_s <= 0:
            raise late
        try:
            response = state.pool.request(
                "POST",
                url,
                body=body,
                headers={"Content-Type": content_type, "Accept": "*/*"},
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, left_s), read=left_s),
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.ConnectTimeoutError:
            raise _Failed("it cannot be reached", again=True) from None
        except urllib3.exceptions.TimeoutError:
            raise late from None
        except urllib3.exceptions.HTTPError as fault:
            raise _Failed(f"the connection failed ({type(fault).__name__})", again=True) from None
        try:
            content = b""
            for chunk in response.stream(_CHUNK_BYTES, decode_content=False):
                content += chunk
                if len(content) > ANSWER_MAX_BYTES:
                    raise _Failed(f"its answer is larger than {ANSWER_MAX_BYTES} bytes", again=False)
                if self._world.monotonic_s() > until_s:
                    raise late
            if response.status != 200:
                raise _Failed(f"it answered HTTP {response.status}", again=response.status >= 500)
            response.release_conn()
            return content
        except urllib3.exceptions.TimeoutError:
            raise late from None
        except urllib3.exceptions.HTTPError as fault:
            raise _Failed(f"its answer broke off ({type(fault).__name__})", again=True) from None
        finally:
            response.close()


def _invocations(url: str) -> str:
    parts = urlsplit(url)
    if parts.path.endswith(PATH):
        return url
    return parts._replace(path=parts.path.rstrip("/") + PATH).geturl()


def endpoint_addresses(text: str) -> dict[str, str]:
    """URL by endpoint name, from the option `model-endpoints`: `name=url,…`, or a TOML or INI file.

    A file holds a section `[endpoints]` of `name = url` lines. Raises UsageError.
    """
    if not text:
        return {}
    if "=" in text:
        pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
        found = {name.strip(): url.strip() for name, _, url in pairs}
    else:
        found = _from_file(Path(text))
    if len(found) > ENDPOINTS_MAX:
        raise UsageError(f"model-endpoints names {len(found)} endpoints; at most {ENDPOINTS_MAX} are taken.")
    for name, url in found.items():
        parts = urlsplit(url)
        if not name or parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"model-endpoints has {name}={url}; an endpoint is NAME=URL with an http or https address."
            )
    return found


def _from_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageError(f"The file of model-endpoints cannot be read: {fault}.") from None
    if path.suffix == ".toml":
        try:
            section = tomllib.loads(text).get(SECTION, {})
        except tomllib.TOMLDecodeError as fault:
            raise UsageError(f"{path} is not TOML: {fault}.") from None
        if not isinstance(section, dict) or not all(isinstance(url, str) for url in section.values()):
            raise UsageError(f'{path} needs a table [{SECTION}] of lines name = "url".')
        return section
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    try:
        parser.read_string(text)
        return dict(parser[SECTION]) if parser.has_section(SECTION) else {}
    except configparser.Error as fault:
        raise UsageError(f"{path} is not an INI file: {fault}.") from None
