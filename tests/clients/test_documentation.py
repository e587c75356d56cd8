"""What docs/clients.md tells a customer to write is run as it is written there."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from deployment import CLIENTS, HERE, Deployment

TEXT = (HERE.parents[1] / "docs" / "clients.md").read_text()
ADDRESS, FILE = "http://127.0.0.1:8420", "hawksnest-data/credentials"  # as documented
ENDPOINT = "AWS_ENDPOINT_URL_FRAUDDETECTOR"
Program = Callable[[str, Path], list[str]]


@pytest.fixture(scope="module")
def detector(deployment: Deployment) -> str:
    """A detector that whoever is led here sees."""
    c, name = deployment.boto3(), "documented_detector"
    c.put_entity_type(name="documented_customer")
    c.create_variable(name="documented_text", dataType="STRING", dataSource="EVENT", defaultValue="x")
    named = {"eventVariables": ["documented_text"], "entityTypes": ["documented_customer"]}
    c.put_event_type(name="documented_event", **named)
    c.put_detector(detectorId=name, eventTypeName="documented_event")
    return name


def here(text: str, deployment: Deployment) -> str:
    """The address and the key of this deployment in place of the documented ones."""
    return text.replace(ADDRESS, deployment.url).replace(FILE, str(deployment.credentials))


def variables(deployment: Deployment) -> dict[str, str]:
    """What the block of `export` lines sets."""
    [block] = re.findall(r"```\n(export .*?)```", TEXT, re.DOTALL)
    words = shlex.split(here(block, deployment))
    return dict(word.split("=", 1) for word in words if word != "export")


def written(client: str, start: str) -> str:
    """The code that begins so in the client's row."""
    [row] = [line for line in TEXT.splitlines() if line.startswith(f"| {client}")]
    [code] = [code for code in re.findall(r"`([^`]+)`", row) if code.startswith(start)]
    return str(code)


def printed(command: list[str], environment: dict[str, str], home: Path) -> str:
    made = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout


def in_python(interpreter: Path, imports: str) -> Program:
    """The expression makes a client, which is asked for the detectors."""

    def program(code: str, _: Path) -> list[str]:
        text = f"import warnings\nwarnings.simplefilter('ignore')\n{imports}\n"
        return [str(interpreter), "-c", f"{text}print({code}.get_detectors()['detectors'])"]

    return program


def in_javascript(code: str, folder: Path) -> list[str]:
    script, root = folder / "written.cjs", CLIENTS / "javascript"
    script.write_text(
        f'const sdk = require("{root}/node_modules/@aws-sdk/client-frauddetector");\n'
        f"const {{ FraudDetectorClient, GetDetectorsCommand }} = sdk;\nconst client = {code};\n"
        "client.send(new GetDetectorsCommand({})).then((answer) => console.log(answer));\n"
    )
    return [str(root / "bin" / "node"), str(script)]


def in_a_shell(code: str, _: Path) -> list[str]:
    name, *rest = shlex.split(code)
    return [str(CLIENTS / "awscli" / "bin" / name), *rest]


BOTO3 = in_python(Path(sys.executable), "import boto3")
PREVIEW = in_python(CLIENTS / "preview" / "bin" / "python", "import boto3")
CAPO = in_python(CLIENTS / "capo" / "bin" / "python", "from capo_frauddetector import FraudDetectorClient")


@pytest.mark.parametrize(
    ("client", "start", "program"),
    [
        ("boto3 |", "boto3.client(", BOTO3),
        ("AWS CLI |", "aws ", in_a_shell),
        ("JavaScript", "new ", in_javascript),
        ("`capo-frauddetector`", "FraudDetectorClient(", CAPO),
        ("boto3 of April 2020", "boto3.client(", PREVIEW),
    ],
    ids=["boto3", "aws-cli", "javascript", "capo", "preview"],
)
def test_the_line_of_each_client_leads_here_without_the_address_in_the_environment(
    deployment: Deployment, detector: str, tmp_path: Path, client: str, start: str, program: Program
) -> None:
    environment = variables(deployment)
    del environment[ENDPOINT]
    code = here(written(client, start), deployment)
    assert detector in printed(program(code, tmp_path), environment, tmp_path)


@pytest.mark.parametrize(
    ("code", "program"),
    [
        ("boto3.client('frauddetector')", BOTO3),
        ("aws frauddetector get-detectors", in_a_shell),
        ("new FraudDetectorClient()", in_javascript),
        ("FraudDetectorClient()", CAPO),
    ],
    ids=["boto3", "aws-cli", "javascript", "capo"],
)
def test_the_variables_alone_lead_clients_here(
    deployment: Deployment, detector: str, tmp_path: Path, code: str, program: Program
) -> None:
    environment = variables(deployment)
    if program is CAPO:
        environment[written("`capo-frauddetector`", "AWS_ENDPOINT")] = environment.pop(ENDPOINT)
    assert detector in printed(program(code, tmp_path), environment, tmp_path)
