"""`tamis push`, against a small server that speaks as much of the hub's protocol as it needs."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.__main__ import main


class Hub(ThreadingHTTPServer):
    """A hub with one repository: its files, its commits, and the requests it refused."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.made: list[dict] = []
        self.messages: list[str] = []
        self.tokens: set[str | None] = set()
        self.status = 200

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Creating a repository, asking how to upload, committing small files, listing the tree."""

    server: Hub

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def answer(self, content: object, status: int = 200) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Show the repository and its files."""
        if "/tree/" in self.path:
            named = self.server.files.items()
            rows = [{"type": "file", "path": n, "size": len(b), "oid": "0"} for n, b in named]
            return self.answer(rows)
        rows = [{"rfilename": name} for name in self.server.files]
        return self.answer({"id": "me/set", "sha": "0" * 40, "siblings": rows})

    def do_POST(self) -> None:
        """Take what an upload sends."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.server.status != 200:
            return self.answer({"error": "no"}, self.server.status)
        if self.path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            return self.answer({"url": f"{self.server.url}/datasets/me/set"})
        if self.path.startswith("/api/validate-yaml"):
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            mode = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            modes = [{"path": one["path"], **mode} for one in asked]
            return self.answer({"files": modes})
        assert "/commit/" in self.path, self.path
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.server.messages.append(value["summary"])
            elif line["key"] == "file":
                self.server.files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "deletedFile", line
                del self.server.files[value["path"]]
        url = f"{self.server.url}/datasets/me/set/commit/{'1' * 40}"
        return self.answer({"commitUrl": url, "commitOid": "1" * 40})


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    """The server, with huggingface_hub turned to it."""
    import huggingface_hub.constants

    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder with a dataset of two files and a card."""
    data = tmp_path / "run/dataset/sft/data"
    data.mkdir(parents=True)
    (data / "train-00000-of-00001.parquet").write_bytes(b"PAR1 rows PAR1")
    (data.parent / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A set\n")
    steps = [{"name": "to_sft", "fingerprint": "abcdef0123456789"}]
    (tmp_path / "run/manifest.json").write_text(json.dumps({"recipe": "dart_math", "steps": steps}))
    return tmp_path / "run"


def test_the_hub_holds_what_the_folder_holds(hub, run, capsys):
    """Files and card arrive byte for byte in one commit that names recipe and fingerprint."""
    assert main(["push", str(run), "me/set", "--private"]) == 0
    assert capsys.readouterr().out.strip().endswith("/commit/" + "1" * 40)
    folder = run / "dataset/sft"
    local = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert hub.files == local
    assert hub.messages == ["dart_math: abcdef012345"]
    (made,) = hub.made
    assert (made["type"], made["visibility"]) == ("dataset", "private")
    assert hub.tokens == {"Bearer hf_secret"}


def test_files_that_are_gone_leave_the_hub(hub, run):
    """A set that has fewer files than the one before leaves none of the old behind."""
    assert main(["push", str(run), "me/set"]) == 0
    (old,) = (run / "dataset/sft/data").iterdir()
    old.rename(old.with_name("train-00000-of-00002.parquet"))
    assert main(["push", str(run), "me/set"]) == 0
    assert sorted(hub.files) == ["README.md", "data/train-00000-of-00002.parquet"]


@pytest.mark.parametrize(("status", "says"), [(401, "hf auth login"), (403, "HF_TOKEN")])
def test_a_refusal_is_one_sentence(hub, run, capfd, status, says):
    """A hub that refuses the token is quoted without a traceback, and without the token."""
    hub.status = status
    assert main(["push", str(run), "me/set"]) == 1
    said = capfd.readouterr().err
    assert says in said and "Traceback" not in said and "hf_secret" not in said


def test_a_partial_set_is_not_pushed(hub, run, capfd):
    """A run that was stopped early, or has no manifest, or a bad name, is refused."""
    manifest = run / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole[:-1] + ', "stopped": true}')
    assert main(["push", str(run), "me/set"]) == 1
    assert "stopped early" in capfd.readouterr().err
    manifest.unlink()
    assert main(["push", str(run), "me/set"]) == 1
    assert "finish the run first" in capfd.readouterr().err
    manifest.write_text(whole)
    assert main(["push", str(run), "me/set/more"]) == 1
    assert "Traceback" not in capfd.readouterr().err
    assert not hub.files
