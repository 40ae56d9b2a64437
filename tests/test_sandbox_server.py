"""The sandbox as a service: a real server process, its client, and callers of all kinds."""

import base64
import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sandbox import Limits, Program, Sandbox, SandboxUnavailable, StdioTest
from sandbox.remote import Connection

ROOT = Path(__file__).parents[1]
TOKEN = "a-secret-of-this-test"
ADD = "def add(a, b):\n    return a + b\n"
QUICK = Limits(test_cpu_s=1.0, cpu_s=3.0)


@contextlib.contextmanager
def serving(*command):
    """A server process; gives its address and the process, and ends it."""
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        found = re.search(r"http://\S+", process.stderr.readline())
        yield found.group(), process
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


def serve_small(**settings):
    """The command of a server with other settings than the command line offers."""
    code = f"from sandbox.server import serve\nserve(port=0, **{settings!r})"
    return [sys.executable, "-c", code]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server that wants a token."""
    file = tmp_path_factory.mktemp("server") / "token"
    file.write_text(TOKEN + "\n")
    command = [sys.executable, "-m", "pipeline", "sandbox", "serve", "--port", "0"]
    with serving(*command, "--workers", "2", "--token-file", str(file)) as (url, _):
        yield url


def ask(url, path, body=None, **headers):
    """Status, headers and text of one request."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def ask_with_token(url, path, body=None):
    """The same, with the token."""
    return ask(url, path, body, Authorization=f"Bearer {TOKEN}")


MIXED = (
    Program("right", ADD, tests=("assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'")),
    Program("wrong", ADD, tests=("assert add(1, 2) == 4",)),
    Program("loops", "def add(a, b):\n    while True: pass\n", tests=("assert add(1, 2) == 3",)),
    Program("raises", "def add(a, b):\n    return a[b]\n", tests=("assert add(1, 2) == 3",)),
    Program("dies", f"import os\n{ADD}    os._exit(0)\ndef die():\n    os._exit(0)\n",
            tests=("assert add(1, 1) == 2", "assert die()", "assert add(1, 2) == 3")),
    Program("split", ADD, tests=("for i in range(3):\n    assert add(i, 1) == i + 1",)),
    Program("inline", ADD, tests=("assert add(1, 2) == 3",), mode="inline"),
    Program("identity", ADD, tests=("assert add(1, 2) is 3", "assert add(1, 1) == 2")),
    Program("reads", "print(int(input()) * 2)", tests=(StdioTest("2", "4"), StdioTest("2", "5"))),
    Program("checked", "print(7)", tests=(
        StdioTest("", "", checker="def check(i, o, e):\n    return int(o) % 7 == 0\n"),)),
    Program("opaque", "def add(a, b):\n    return object()\n", tests=("assert add(1, 2) == 3",)),
    Program("does not parse", ADD, tests=("assert (",)),
    Program("no tests", "print(input())\nraise SystemExit(3)", stdin="x"),
    Program("js", "const add = (a, b) => a + b;", tests=("assert add(1, 2) == 3",), language="js"),
    Program("forges", "class E(int):\n    def __eq__(s, o):\n        return True\n"
            "def add(a, b):\n    return E()\n", tests=("assert add(1, 2) == 3",)),
)  # fmt: skip


def known(outcome):
    """All of an outcome but its times."""
    tests = [(test.status, test.exception, test.got) for test in outcome.tests]
    rest = (outcome.stdout, outcome.exception, outcome.flags, outcome.exit_status)
    return outcome.id, outcome.verdict, outcome.integrity, outcome.tier, tests, rest


def test_client_and_local_verdicts_agree(server):
    """Every kind of program and test has the same outcome over the network, in input order."""
    with Sandbox(limits=QUICK) as here, Sandbox(limits=QUICK, url=server, token=TOKEN) as there:
        local = [known(outcome) for outcome in here.run(MIXED)]
        assert [known(outcome) for outcome in there.run(MIXED)] == local
    assert {name: verdict for name, verdict, *_ in local}["forges"] == "wrong"


def test_expected_values_stay_with_the_client(server, monkeypatch):
    """What is sent for assertions and stdin tests holds the questions, not what is expected."""
    sent = []

    def listen(self, method, path, body=None, original=Connection._ask):
        sent.append(body or b"")
        return original(self, method, path, body)

    monkeypatch.setattr(Connection, "_ask", listen)
    tests = ("assert add(11, 22) == 987654", StdioTest("33", "expected output"))
    with Sandbox(url=server, token=TOKEN) as there:
        (outcome,) = there.run([Program("it", ADD, tests=tests)])
    assert [test.status for test in outcome.tests] == ["fail", "fail"]
    crossed = b"".join(sent)
    assert b"11, 22" in crossed and b'"33"' in crossed
    assert b"987654" not in crossed and b"expected output" not in crossed


@pytest.mark.parametrize("path", ["/v1/check", "/run_code", "/metrics", "/v1/health", "/no"])
def test_a_token_is_needed(server, path):
    """A wrong token opens nothing, a missing one opens health only, and the body is not read."""
    body = None if path in ("/metrics", "/v1/health") else b"{}"
    assert ask(server, path, body, Authorization="Bearer wrong")[0] == 401
    assert ask(server, path, body)[0] == (200 if path == "/v1/health" else 401)
    with pytest.raises(SandboxUnavailable, match="401"):
        Sandbox(url=server, token="wrong").open()


def test_hostile_program_through_the_server(server):
    """A program from the network finds neither the host's files nor the server's token."""
    code = (
        "import os\nprint(sorted(set(os.environ)))\n"
        "for path in ('/etc/passwd', '/proc/self/environ', '/root'):\n"
        "    print(os.path.exists(path))\n"
        "try:\n    os.fork()\nexcept OSError:\n    print('no fork')\n"
    )
    status, _, text = ask_with_token(server, "/run_code", {"code": code, "language": "python"})
    answer = json.loads(text)
    assert (status, answer["status"]) == (200, "Success")
    assert answer["run_result"]["stdout"].splitlines()[1:] == ["False"] * 3 + ["no fork"]
    assert TOKEN not in text


def test_check_streams_in_order(server):
    """Programs come back one line each, in order, and a slow first one holds its place."""
    slow = {"id": "slow", "code": "import time\ntime.sleep(0.3)\nprint(1)"}
    lines = [json.dumps(slow)] + [json.dumps({"id": i, "code": "print(2)"}) for i in range(5)]
    status, headers, text = ask_with_token(server, "/v1/check", "\n".join(lines).encode())
    found = [json.loads(line) for line in text.splitlines() if line]
    assert (status, headers["Content-Type"]) == (200, "application/x-ndjson")
    assert [outcome["id"] for outcome in found] == ["slow", "0", "1", "2", "3", "4"]
    assert [outcome["stdout"] for outcome in found] == ["1\n"] + ["2\n"] * 5


BAD = {
    "not json": "line 1: Expecting value",
    '{"id": 1, "code": ""}\n{"id": 2}': "line 2: 'code' has to be text",
    '{"id": 1, "code": "", "tests": [{"input": 3, "output": ""}]}': "line 1: 'input'",
    '{"id": 1, "code": "", "memory_mb": 999999}': "line 1: memory_mb 999999 is more than the 16384",
    '{"id": 1, "code": "", "tests": [{"calls": [["f(); g", [], {}]]}]}': "line 1: 'f(); g' is not",
}


@pytest.mark.parametrize("body", BAD)
def test_bad_programs_are_named(server, body):
    """A bad line is refused with its number and what is wrong, and nothing is run."""
    status, _, text = ask_with_token(server, "/v1/check", body.encode())
    assert status == 400
    assert json.loads(text)["error"].startswith(BAD[body])


def test_bodies_have_a_limit(server):
    """A body that says it is too large is refused before it is read, one without length too."""
    host = server.removeprefix("http://")
    for header, status in ((("Content-Length", str(1 << 40)), 413), (("X", "y"), 411)):
        line = http.client.HTTPConnection(host, timeout=30)
        line.putrequest("POST", "/v1/check")
        line.putheader("Authorization", f"Bearer {TOKEN}")
        line.putheader(*header)
        line.endheaders()
        assert line.getresponse().status == status
        line.close()
    many = b'{"id": 1, "code": ""}\n' * 200
    status, _, text = ask_with_token(server, "/v1/check", many)
    assert (status, "at most 128 are taken" in text) == (413, True)


def test_a_full_queue_says_when_to_come_back():
    """While the only place is taken, a request gets 429 with Retry-After, and the client waits."""
    sleep = {"id": "sleep", "code": "import time\ntime.sleep(1.5)"}
    with serving(*serve_small(workers=1, room=1)) as (url, _):
        first = threading.Thread(target=ask, args=(url, "/v1/check", sleep))
        first.start()
        time.sleep(0.5)
        status, headers, _ = ask(url, "/v1/check", {"id": "next", "code": ""})
        assert (status, headers["Retry-After"]) == (429, "1")
        with Sandbox(url=url) as there:
            (outcome,) = there.run([Program("patient", ADD, tests=("assert add(1, 2) == 3",))])
        assert outcome.verdict == "correct"
        first.join()
        found = re.search(r"sandbox_refused_total (\d+)", ask(url, "/metrics")[2])
        assert int(found.group(1)) >= 2


def test_metrics_count_verdicts(server):
    """The counters of a verdict rise by the programs that had it."""

    def count():
        text = ask_with_token(server, "/metrics")[2]
        found = re.search(r'sandbox_programs_total\{verdict="unverified"\} (\d+)', text)
        return int(found.group(1)) if found else 0

    before = count()
    ask_with_token(server, "/v1/check", b'{"id": 1, "code": ""}\n{"id": 2, "code": ""}\n')
    assert count() == before + 2


RUNS = {
    "finished": ({"code": "print(input()*2)", "stdin": "ab"}, "Success", "Finished", 0, "abab\n"),
    "exit": ({"code": "print(1)\nraise SystemExit(3)"}, "Failed", "Finished", 3, "1\n"),
    "long": ({"code": "print('x' * 300_000)"}, "Success", "Finished", 0, "x" * 300_000 + "\n"),
    "loop": (
        {"code": "while True: pass", "run_timeout": 0.3},
        "Failed",
        "TimeLimitExceeded",
        None,
        "",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_sandbox_fusion_runs(server, name):
    """The answers have SandboxFusion's words, also for 300 KB of output."""
    request, status, run_status, code, stdout = RUNS[name]
    answer = json.loads(ask_with_token(server, "/run_code", {"language": "python", **request})[2])
    run = answer["run_result"]
    assert (answer["status"], run["status"], run["return_code"]) == (status, run_status, code)
    assert run["stdout"] == stdout and run["execution_time"] > 0


def test_sandbox_fusion_compiles_and_keeps_files(server):
    """A C++ error is a compile result; Python finds its files and gives back what was asked for."""
    request = {"code": "int main() { return x; }", "language": "cpp"}
    answer = json.loads(ask_with_token(server, "/run_code", request)[2])
    assert (answer["status"], answer["run_result"]) == ("Failed", None)
    assert "'x'" in answer["compile_result"]["stderr"].replace("‘", "'").replace("’", "'")
    code = "open('b', 'wb').write(open('d/a', 'rb').read() * 2)\nprint('done')"
    content = base64.b64encode(b"\0\xff").decode()
    request = {"code": code, "language": "python", "files": {"d/a": content}}
    answer = json.loads(
        ask_with_token(server, "/run_code", request | {"fetch_files": ["b", "none"]})[2]
    )
    assert (answer["status"], answer["run_result"]["stdout"]) == ("Success", "done\n")
    assert {n: base64.b64decode(c) for n, c in answer["files"].items()} == {"b": b"\0\xff" * 2}
    request = {"code": "", "language": "cpp", "files": {"a": content}}
    assert ask_with_token(server, "/run_code", request)[0] == 400


def test_browsers_are_refused_without_a_token():
    """A server without a token does not run programs for a page in somebody's browser."""
    with serving(*serve_small(workers=1)) as (url, _):
        assert ask(url, "/v1/check", {"id": 1, "code": ""}, Origin="http://evil")[0] == 403
        assert ask(url, "/v1/check", {"id": 1, "code": ""})[0] == 200


def test_other_than_loopback_needs_a_token():
    """Listening on all addresses without a token is refused in one sentence."""
    command = [sys.executable, "-m", "pipeline", "sandbox", "serve", "--host", "0.0.0.0"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr == "tamis: listening on 0.0.0.0 needs a token; without one use 127.0.0.1\n"


def test_no_server_is_said_at_once():
    """Where nobody listens the sandbox is unavailable, and says where it looked."""
    with pytest.raises(SandboxUnavailable, match="no sandbox at http"):
        Sandbox(url="http://127.0.0.1:1").open()


def test_a_server_that_dies_is_infra():
    """A program whose server is killed under it is infra after its attempts, never wrong."""
    with serving(*serve_small(workers=1)) as (url, process), Sandbox(workers=1, url=url) as there:
        outcomes = there.run([Program("it", "import time\ntime.sleep(30)")])
        timer = threading.Timer(1.0, process.send_signal, [signal.SIGKILL])
        timer.start()
        (outcome,) = outcomes
        timer.join()
    assert (outcome.verdict, outcome.attempts) == ("infra", 3)
    assert "does not answer" in outcome.exception
