"""Addresses of external models, templates and outputs, the circuit breaker."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hawksnest import external
from hawksnest.errors import ServiceError, UsageError
from hawksnest.external import Endpoints, endpoint_addresses
from hawksnest.external_form import InputVariable, Output, OutputFault, OutputField, Template
from hawksnest.world import ManualWorld, RealWorld

STRING, FLOAT = InputVariable("STRING", "<unknown>"), InputVariable("FLOAT", "0.0")


def test_addresses_come_from_the_option_itself():
    assert endpoint_addresses("") == {}
    assert endpoint_addresses("a=http://h:1, B-2=https://k/x") == {"a": "http://h:1", "B-2": "https://k/x"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("m.toml", '[endpoints]\nEp_1 = "http://h:1/a=b"\n'), ("m.ini", "[endpoints]\nEp_1 = http://h:1/a=b\n")],
)
def test_addresses_come_from_a_file(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert endpoint_addresses(str(path)) == {"Ep_1": "http://h:1/a=b"}


@pytest.mark.parametrize("text", ["a=ftp://h", "a=h:1", "=http://h", "a=", "/nowhere/models.toml"])
def test_addresses_that_cannot_be_used_are_named(text):
    with pytest.raises(UsageError, match="model-endpoints"):
        endpoint_addresses(text)


def test_a_broken_file_is_named(tmp_path):
    for name, text in (("m.toml", "[endpoints\n"), ("n.toml", "endpoints = 5\n"), ("m.ini", "a = b\n")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UsageError, match=name):
            endpoint_addresses(str(path))


def fill(text: str, form: str, given: dict, values: dict, **variables: InputVariable) -> str:
    return Template(text, form).fill(variables, given, values)[0]


def test_csv_values_are_quoted_where_they_must_be():
    for given, shown in (("x", "x"), ("a,b", '"a,b"'), ('a"b', '"a""b"'), (" a", '" a"'), ("a\nb", '"a\nb"')):
        assert fill("{{s}},1", "TEXT_CSV", {"s": given}, {"s": given}, s=STRING) == f"{shown},1"
    assert fill('"{{s}}"', "TEXT_CSV", {"s": 'a"b'}, {"s": 'a"b'}, s=STRING) == '"a""b"'


def test_an_absent_variable_has_its_default_and_null_is_null():
    assert fill("{{s}},{{f}}", "TEXT_CSV", {}, {"s": "<unknown>", "f": 0.0}, s=STRING, f=FLOAT) == (
        "<unknown>,0.0"
    )
    assert fill("{{s}}", "TEXT_CSV", {"s": None}, {"s": None}, s=STRING) == "null"
    assert fill("{{f}}", "TEXT_CSV", {}, {"f": None}, f=InputVariable("FLOAT", None)) == "null"


def test_json_values_are_literals_or_text_inside_quotes():
    values = {"s": 'a"\\é', "f": 1e3}
    given = {"s": 'a"\\é', "f": "1e3"}
    text = fill('[{{s}}, "x{{s}}\\"{{f}}", {{f}}]', "APPLICATION_JSON", given, values, s=STRING, f=FLOAT)
    assert text == '["a\\"\\\\\\u00e9", "xa\\"\\\\\\u00e9\\"1e3", 1000.0]'


def test_a_json_template_must_give_json():
    Template('{"a": {{f}}}', "APPLICATION_JSON").check({"f": "FLOAT"})
    for text in ('{"a": {{f}}', "{{f}}{{f}}x", '{"a": "{{f}}}'):
        with pytest.raises(ValueError):
            Template(text, "APPLICATION_JSON").check({"f": "FLOAT"})


def output(form: str, **fields: tuple[str, str]) -> Output:
    return Output(form, tuple(OutputField(place, name, kind) for name, (place, kind) in fields.items()))


def test_columns_keep_their_raw_text():
    both = output("TEXT_CSV", a=("0", "FLOAT"), b=("1", "STRING"))
    assert both.read(b"0.5, x\r\n1,y\n") == ({"a": "0.5", "b": " x\r\n"}, {"a": 0.5, "b": " x"})
    assert output("TEXT_CSV", a=("0", "INTEGER")).read(b'"7"\n') == ({"a": "7\n"}, {"a": 7})


def test_members_of_json_lines_keep_their_raw_numbers():
    form = output("APPLICATION_JSONLINES", a=("x", "FLOAT"), b=("y", "BOOLEAN"), c=("z", "STRING"))
    assert form.read(b'{"x": 1.50, "y": true, "z": {"k": "v"}}\n{"x": 2}\n') == (
        {"a": "1.50", "b": "true", "c": '{"k": "v"}'},
        {"a": 1.5, "b": True, "c": '{"k": "v"}'},
    )


@pytest.mark.parametrize("body", [b"", b"x", b"nan", b"1e999", b"\xff", b'"0.5', b"\n0.5"])
def test_csv_that_is_no_answer_is_a_fault(body):
    with pytest.raises(OutputFault):
        output("TEXT_CSV", a=("0", "FLOAT")).read(body)


@pytest.mark.parametrize("body", [b"", b"5", b"{}", b'{"x": null}', b'{"x": NaN}', b"[" * 100_000])
def test_json_that_is_no_answer_is_a_fault(body):
    with pytest.raises(OutputFault):
        output("APPLICATION_JSONLINES", a=("x", "FLOAT")).read(body)


class Handler(BaseHTTPRequestHandler):
    """Answers with the status that the test chose."""

    status = 200
    calls = 0

    def do_POST(self) -> None:
        type(self).calls += 1
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def url():
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        Handler.calls, Handler.status = 0, 200
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_after_some_failures_one_call_in_a_while_is_let_through(url):
    world = ManualWorld()
    endpoints = Endpoints({"ep": url}, 5.0, world)
    Handler.status = 400
    for _ in range(external.OPENS_AFTER + 3):
        with pytest.raises(ServiceError, match="ep"):
            endpoints.invoke("ep", b"1", "text/csv")
    assert Handler.calls == external.OPENS_AFTER
    world.advance(external.STAYS_OPEN_S)
    with pytest.raises(ServiceError, match="HTTP 400"):
        endpoints.invoke("ep", b"1", "text/csv")
    with pytest.raises(ServiceError, match="left alone"):
        endpoints.invoke("ep", b"1", "text/csv")
    world.advance(external.STAYS_OPEN_S)
    Handler.status = 200
    assert endpoints.invoke("ep", b"1", "text/csv") == b"ok"
    assert endpoints.invoke("ep", b"1", "text/csv") == b"ok"
    endpoints.close()


def test_an_endpoint_that_is_not_there_cannot_be_reached():
    endpoints = Endpoints({"ep": "http://127.0.0.1:9"}, 2.0, RealWorld())
    with pytest.raises(ServiceError, match=r"cannot be reached|connection failed") as raised:
        endpoints.invoke("ep", b"1", "text/csv")
    assert (raised.value.code, raised.value.status) == ("ResourceUnavailableException", 400)
    with pytest.raises(ServiceError, match="larger than"):
        endpoints.invoke("ep", b"x" * (external.INPUT_MAX_BYTES + 1), "text/csv")
    endpoints.close()
