"""The command as a person starts it: served process, pages, keys, errors in one sentence."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.session import Session

COMMAND = (sys.executable, "-m", "hawksnest")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


class Served:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.data = folder / "data"
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--port", str(self.port), "--data", str(self.data)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as fault:
            with fault:
                return fault.code, dict(fault.headers), fault.read()

    def stop(self) -> float:
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(10) == 0
        if self.process.stdout is not None:
            self.process.stdout.close()
        return time.monotonic() - began


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served"))
    yield server
    if server.process.poll() is None:
        server.stop()


def client_of(served: Served, access_key_id: str | None = None, secret: str | None = None):
    session = Session()
    if access_key_id is None:
        session.set_config_variable("credentials_file", str(served.data / "credentials"))
    return session.create_client(
        "frauddetector",
        endpoint_url=served.url,
        region_name="us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
    )


def test_the_first_start_says_where_it_listens_and_writes_credentials(served: Served):
    assert served.url in served.said
    credentials = served.data / "credentials"
    assert credentials.stat().st_mode & 0o777 == 0o600
    assert "aws_secret_access_key" in credentials.read_text()


def test_the_written_credentials_work_at_once(served: Served):
    client = client_of(served)
    assert client.get_detectors()["detectors"] == []
    client.close()


def test_a_key_made_beside_the_running_server_works_and_sees_its_own_account_only(served: Served):
    made = json.loads(
        run("keys", "create", "--account", "111122223333", "--data", str(served.data), "--json").stdout
    )
    first = client_of(served)
    first.put_label(name="mine")
    other = client_of(served, made["access_key_id"], made["secret_access_key"])
    until = time.monotonic() + 10
    while True:
        try:
            labels = other.get_labels()["labels"]
            break
        except other.exceptions.ClientError as fault:
            assert fault.response["Error"]["Code"] == "UnrecognizedClientException"
            assert time.monotonic() < until, "the server never learned of the key"
            time.sleep(0.05)
    assert labels == []
    other.put_label(name="theirs")
    assert ":111122223333:label/theirs" in other.get_labels(name="theirs")["labels"][0]["arn"]
    listed = json.loads(run("keys", "list", "--data", str(served.data), "--json").stdout)["keys"]
    assert made["access_key_id"] in [key["access_key_id"] for key in listed]
    assert made["secret_access_key"] not in json.dumps(listed)
    assert run("keys", "delete", made["access_key_id"], "--data", str(served.data)).returncode == 0
    first.close()
    other.close()


def test_the_page_and_its_parts_come_from_the_server_alone(served: Served):
    status, headers, page = served.get("/console/")
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    links = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert links
    for link in set(links):
        assert link.startswith("/console/"), link
        assert served.get(link)[0] == 200, link


def test_the_root_leads_to_the_console(served: Served):
    assert b"<title>Hawksnest" in served.get("/")[2]


def test_the_feed_sends_figures_as_server_sent_events(served: Served):
    with urllib.request.urlopen(served.url + "/console/live", timeout=10) as feed:
        assert feed.headers["content-type"].startswith("text/event-stream")
        line = feed.readline()
    figures = json.loads(line.removeprefix(b"data: "))
    assert {"transactions", "money", "outcomes", "decisions", "mails", "truth", "latency_ms"} <= set(figures)


def test_the_console_refuses_names_that_are_not_this_machine(served: Served):
    assert served.get("/console/", Host="evil.example")[0] == 403
    assert served.get("/console/live.json", Host="evil.example:8420")[0] == 403


def test_health_and_metrics_answer(served: Served):
    assert json.loads(served.get("/health")[2])["status"] == "ok"
    assert b"hawksnest_requests_total" in served.get("/metrics")[2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("serve", "--no-auth", "--host", "0.0.0.0"), "loopback"),
        (("serve", "--host", "no-such-host.invalid"), "no-such-host.invalid"),
        (("demo", "--rate", "-1"), "--rate"),
        (("simulate", "--count", "5"), "--topic or --out"),
        (("stream", "--log", "kafka://127.0.0.1:9"), "kafka"),
        (("alert", "--smtp", "nowhere"), "HOST:PORT"),
        (("replay", "missing.csv"), "missing.csv"),
        (("nonsense",), "nonsense"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments, sentence):
    result = run(*arguments, HAWKSNEST_DATA=str(tmp_path), HAWKSNEST_LOG=f"file://{tmp_path}/stream")
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_ctrl_c_ends_the_server_within_three_seconds_even_with_viewers(served: Served):
    viewers = [urllib.request.urlopen(served.url + "/console/live", timeout=10) for _ in range(3)]
    for viewer in viewers:
        viewer.readline()
    assert served.stop() < 3
    for viewer in viewers:
        viewer.close()
