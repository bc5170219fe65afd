"""The codec against a small registry that answers as Confluent's and Redpanda's do."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from schemas.codec import Codec, split_header
from schemas.errors import BrokerUnavailable, SchemaError
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from tests.schemas.test_records import example


class Registry(BaseHTTPRequestHandler):
    """PUT /config/{subject}, POST /subjects/{subject}/versions, GET /schemas/ids/{id}."""

    schemas: dict[int, str]
    compatible = True

    def do_PUT(self) -> None:
        self.answer(200, {"compatibility": json.loads(self.body())["compatibility"]})

    def do_POST(self) -> None:
        assert self.path == "/subjects/market.liquidations-value/versions"
        if not type(self).compatible:
            self.answer(409, {"error_code": 409, "message": "Schema being registered is incompatible"})
            return
        type(self).schemas[4711] = json.loads(self.body())["schema"]
        self.answer(200, {"id": 4711})

    def do_GET(self) -> None:
        number = int(self.path.rsplit("/", 1)[1])
        if number in type(self).schemas:
            self.answer(200, {"schema": type(self).schemas[number]})
        else:
            self.answer(404, {"error_code": 40403, "message": "Schema not found"})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def registry() -> Iterator[str]:
    Registry.schemas, Registry.compatible = {}, True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_ids_come_from_the_registry_and_another_client_reads_them(registry: str) -> None:
    value = Codec(registry).encode(LIQUIDATIONS, example())
    assert split_header(value)[0] == 4711
    assert Codec(registry).decode(Liquidation, value) == example()


def test_an_incompatible_schema_is_a_schema_error(registry: str) -> None:
    Registry.compatible = False
    with pytest.raises(SchemaError, match="incompatible"):
        Codec(registry).encode(LIQUIDATIONS, example())


def test_an_unknown_id_is_a_schema_error(registry: str) -> None:
    with pytest.raises(SchemaError, match="Schema not found"):
        Codec(registry).decode(Liquidation, b"\0\0\0\0\x09" + bytes(40))


def test_a_registry_that_is_down_is_retriable_and_says_what_to_do() -> None:
    with pytest.raises(BrokerUnavailable, match="schema_registry_url"):
        Codec("http://127.0.0.1:9").encode(LIQUIDATIONS, example())
    assert BrokerUnavailable.retriable
