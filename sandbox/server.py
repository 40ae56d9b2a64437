"""The sandbox as a service over HTTP, standard library only.

POST /v1/check   programs as NDJSON (records.py) in, outcomes as NDJSON out, in order, as they come
POST /run_code   one run in SandboxFusion's format (fusion.py)
GET  /v1/health  {"status", "tier", "machine"}      GET /metrics  Prometheus text

With a token every request has to carry it (``Authorization: Bearer``), /v1/health may do without.
Without one the server listens on loopback addresses only. A body has a limit (413), so has the
queue: a request that finds it full is told when to come back (429, Retry-After).
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import signal
import sys
import threading
from dataclasses import asdict, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any, ClassVar

from sandbox.box import Sandbox
from sandbox.fusion import run_code
from sandbox.outcomes import Outcome
from sandbox.programs import Limits, Program
from sandbox.records import read_program
from sandbox.service import Service

_LOG = logging.getLogger(__name__)
_BODY = 64 << 20  # bytes of a request
_QUEUE = 64  # programs in the queue, per worker
_MOST = Limits(
    cpu_s=600, test_cpu_s=300, memory_mb=16384, disk_mb=1024, files=1 << 16, file_mb=1024,
    threads=256, output_bytes=16 << 20, result_bytes=64 << 20,
)  # fmt: skip


class _Refused(Exception):
    """An HTTP status and the sentence that goes with it."""


class _Handler(BaseHTTPRequestHandler):
    """One connection; a thread each."""

    protocol_version = "HTTP/1.1"
    server_version = "tamis-sandbox"
    timeout = 75
    disable_nagle_algorithm = True  # answers are small, and 40 ms is long
    service: ClassVar[Service]

    def do_GET(self) -> None:
        """Health and metrics."""
        self._guard(self._get)

    def do_POST(self) -> None:
        """Programs to run."""
        self._guard(self._post)

    def _get(self) -> None:
        if self.path == "/v1/health":
            health = {"status": "ok", "tier": self.service.box.tier}
            self._answer(200, json.dumps({**health, "machine": self.service.machine}))
        elif self.path == "/metrics":
            self._answer(200, self.service.metrics(), "text/plain; version=0.0.4")
        else:
            raise _Refused(404, "there is /v1/check, /run_code, /v1/health and /metrics")

    def _post(self) -> None:
        body = self._body()
        if self.path == "/v1/check":
            self._check(body)
        elif self.path == "/run_code":
            self._run_code(body)
        else:
            raise _Refused(404, "there is /v1/check, /run_code, /v1/health and /metrics")

    def _guard(self, work: Any) -> None:
        """Do the work if the caller may ask for it; say what is wrong with a bad request."""
        try:
            self._check_token()
            work()
        except _Refused as refusal:
            self.close_connection = True  # its body may still be unread
            self._answer(refusal.args[0], json.dumps({"error": refusal.args[1]}))
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _check_token(self) -> None:
        given = self.headers.get("Authorization")
        if self.service.token is None:
            if self.headers.get("Origin"):  # a page in somebody's browser
                raise _Refused(403, "browsers need a token here: start the server with one")
            return
        if given is None and self.path == "/v1/health":
            return
        wanted = f"Bearer {self.service.token}"
        if not hmac.compare_digest((given or "").encode(), wanted.encode()):
            raise _Refused(401, "the header 'Authorization: Bearer TOKEN' is missing or wrong")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Refused(411, "the request needs a Content-Length")
        if int(length) > _BODY:
            raise _Refused(413, f"the body has {length} bytes, at most {_BODY} are taken: split it")
        return self.rfile.read(int(length))

    def _check(self, body: bytes) -> None:
        programs = []
        for number, line in enumerate(body.splitlines(), 1):
            if line.strip():
                programs.append(_parse(line, number))
        if len(programs) > self.service.room:
            most = self.service.room
            raise _Refused(413, f"{len(programs)} programs, at most {most} are taken: split them")
        self._enter(len(programs))
        try:
            self._head(200, "application/x-ndjson", chunked=True)
            for outcome in self.service.judge(programs):
                self._chunk(
                    b"\n" if outcome is None else json.dumps(asdict(outcome)).encode() + b"\n"
                )
            self.wfile.write(b"0\r\n\r\n")
        finally:
            self.service.leave(len(programs))

    def _run_code(self, body: bytes) -> None:
        try:
            request = json.loads(body)
        except ValueError:
            raise _Refused(400, "the body is not JSON") from None
        self._enter(1)
        try:
            self._answer(200, json.dumps(run_code(request, self._judge_one)))
        except ValueError as error:
            raise _Refused(400, str(error)) from None
        finally:
            self.service.leave(1)

    def _judge_one(self, program: Program) -> Outcome:
        _refuse_excess(program)
        outcomes = self.service.judge([program])
        return next(outcome for outcome in outcomes if outcome is not None)

    def _enter(self, programs: int) -> None:
        if not self.service.enter(programs):
            raise _Refused(429, "the queue is full")

    def _head(self, status: int, kind: str, *, length: int = 0, chunked: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        if status == 429:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _answer(self, status: int, text: str, kind: str = "application/json") -> None:
        body = text.encode()
        self._head(status, kind, length=len(body))
        self.wfile.write(body)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are for whoever turns logging on."""
        _LOG.info(format, *arguments)


def _parse(line: bytes, number: int) -> Program:
    try:
        program = read_program(json.loads(line), Limits())
        _refuse_excess(program)
    except ValueError as error:
        raise _Refused(400, f"line {number}: {error}") from None
    return program


def _refuse_excess(program: Program) -> None:
    """Refuse limits above the server's own."""
    for limit in fields(Limits):
        asked, most = getattr(program.limits, limit.name), getattr(_MOST, limit.name)
        if asked > most:
            raise ValueError(f"{limit.name} {asked} is more than the {most} given here")


def _refuse_exposure(host: str, token: str | None) -> None:
    """Only loopback without a token; raises ValueError."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not token and not loopback:
        raise ValueError(f"listening on {host} needs a token; without one use 127.0.0.1")


def serve(
    host: str = "127.0.0.1",
    port: int = 8790,
    token: str | None = None,
    workers: int = 2,
    room: int | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; port 0 takes a free one, the address goes to stderr.

    room: programs that may wait, 64 for each worker unless given. Raises ValueError for an address
    that is not loopback without a token, SandboxUnavailable where no tier can be had.
    """
    _refuse_exposure(host, token)
    with Sandbox(workers) as box:
        service = Service(box, box.machine, token or None, room or _QUEUE * workers)
        handler = type("Handler", (_Handler,), {"service": service})
        with ThreadingHTTPServer((host, port), handler) as server:
            server.daemon_threads = True

            def stop(number: int, frame: FrameType | None) -> None:
                threading.Thread(target=server.shutdown, daemon=True).start()

            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, stop)
            address = f"http://{host}:{server.server_address[1]}"
            sys.stderr.write(f"tier {box.tier} sandbox on {address}\n")
            sys.stderr.flush()
            server.serve_forever(poll_interval=0.2)
