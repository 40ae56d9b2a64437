"""Two whole runs at once on this machine, as two people start them: one server, one sandbox."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SLOTS = 8
WAIT_S = 90


class Server(ThreadingHTTPServer):
    """Adds two numbers for anybody; holds all answers until both runs have asked for a while."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.lock, self.both = threading.Lock(), threading.Event()
        self.in_flight: Counter[str] = Counter()
        self.seen: list[tuple[int, int]] = []  # in flight of each run, once both take part
        super().__init__(("127.0.0.1", 0), Handler)

    def enter(self, run: str) -> None:
        """Count a request; the other run's first one opens the gate when it has been counted."""
        with self.lock:
            self.in_flight[run] += 1
            if len(self.in_flight) == 2 and not self.both.is_set():
                threading.Timer(2.5, self.both.set).start()  # longer than a recount of the sharers
        self.both.wait(WAIT_S)
        time.sleep(0.05)

    def leave(self, run: str) -> None:
        """Count its end."""
        with self.lock:
            self.seen.append((self.in_flight["1"], self.in_flight["2"]))
            self.in_flight[run] -= 1


class Handler(BaseHTTPRequestHandler):
    """One request: what is asked is `a + RUN`."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """The models."""
        self._say({"data": [{"id": "adds"}]})

    def do_POST(self) -> None:
        """A completion, in its turn."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        a, b = re.search(r"(\d+) \+ (\d+)", body["messages"][-1]["content"]).groups()
        self.server.enter(b)
        text = f"The answer is \\boxed{{{int(a) + int(b)}}}."
        self.server.leave(b)
        choice = {"index": 0, "finish_reason": "stop", "message": {"content": text}}
        usage = {"completion_tokens": 3, "prompt_tokens": 5}
        self._say({"choices": [choice], "usage": usage})

    def _say(self, answer: Any) -> None:
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@contextmanager
def adding():
    """A server in threads of this process."""
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.both.set()
        server.shutdown()
        server.server_close()


def start(place: Path, words: list[str], api: str) -> "subprocess.Popen[str]":
    """Start `tamis run` with a runtime directory that both runs have in common."""
    command = [sys.executable, "-m", "pipeline", "run", *words, "--out", str(place)]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(place.parent), "PREFECT_API_URL": api}
    return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


def finish(runs: list["subprocess.Popen[str]"]) -> None:
    """Wait until both have ended well."""
    said = [run.communicate(timeout=WAIT_S)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said


def test_two_runs_share_one_servers_slots(tmp_path, prefect_server):
    """While both ask, each has half of the 8 slots; both sets are whole."""
    with adding() as server:
        model = f"openai:http://127.0.0.1:{server.server_address[1]}/v1#adds"
        runs = []
        for b in ("1", "2"):
            rows = [{"prompt": f"What is {a} + {b}?", "answer": str(a + int(b))} for a in range(60)]
            source = tmp_path / f"{b}.jsonl"
            source.write_text("".join(json.dumps(row) + "\n" for row in rows))
            words = [f"prompts={source}", f"model={model}", "budget=fixed", "k=2"]
            words += ["max_trials=2", f"engine={{slots: {SLOTS}}}"]
            settings = [word for setting in words for word in ("--set", setting)]
            runs.append(start(tmp_path / f"run{b}", ["dart_math", *settings], prefect_server))
        finish(runs)
    # The first run's requests from before it was two are answered first.
    settled = [pair for pair in server.seen[2 * SLOTS :] if min(pair)]
    assert max(sum(pair) for pair in settled) == SLOTS
    assert {max(pair) for pair in settled} <= set(range(SLOTS // 2 + 1))
    for b in ("1", "2"):
        assert _rows(tmp_path / f"run{b}", "rollouts") == 120


def test_two_runs_share_one_sandbox(tmp_path, prefect_server):
    """Both runs send their programs to one server of one slot; all are judged there, none lost."""
    command = [sys.executable, "-m", "pipeline", "sandbox", "serve", "--port", "0"]
    serving = subprocess.Popen(
        [*command, "--workers", "1"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        url = serving.stderr.readline().split()[-1]
        words = ["limit=8", f"sandbox={{url: '{url}'}}"]
        words += ["model=scripted:tests.scripts_for_code:world"]
        runs = []
        for k in ("3", "4"):
            settings = [word for one in (*words, f"k={k}") for word in ("--set", one)]
            runs.append(start(tmp_path / f"run{k}", ["plum", *settings], prefect_server))
        finish(runs)
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
            counted = answer.read().decode()
    finally:
        serving.terminate()
        serving.communicate(timeout=30)
    judged = sum(map(int, re.findall(r"sandbox_programs_total\{.*\} (\d+)", counted)))
    programs = [_rows(tmp_path / f"run{k}", "grid") for k in ("3", "4")]
    assert max(programs) < judged <= sum(programs)  # a run asks the same program once
    for k in ("3", "4"):
        assert not (tmp_path / f"run{k}/executions/aside").exists()  # nothing was infra


def _rows(run: Path, name: str) -> int:
    steps = json.loads((run / "manifest.json").read_text())["steps"]
    return {step["name"]: step["rows"] for step in steps}[name]
