"""A stand-in for the Hugging Face Hub: an HTTP server on this machine that answers what the Hub's own client asks."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

LARGE = 200
"""Bytes from which on a file is one of LFS."""


def git_oid(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repository:
    """Commits of files, and branches that point to them."""

    def __init__(self, kind, name, gated=False):
        self.kind, self.name, self.gated = kind, name, gated
        self.commits, self.branches = {}, {}

    def commit(self, files, branch="main"):
        """A new commit of these files, path -> bytes; the branch moves to it."""
        held = json.dumps({path: git_oid(content) for path, content in sorted(files.items())})
        sha = hashlib.sha1(held.encode()).hexdigest()
        self.commits[sha], self.branches[branch] = dict(files), sha
        return sha

    def at(self, revision):
        """Commit and files of a revision; None where there is none."""
        sha = self.branches.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else None


class Hub:
    """Repositories, and what was asked for."""

    def __init__(self):
        self.repositories, self.requests, self.address = {}, [], ""

    def add(self, kind, name, files, gated=False):
        repository = self.repositories[kind, name] = Repository(kind, name, gated)
        repository.commit(files)
        return repository

    def contents(self):
        """Requests for the content of files since the last time this was asked; all others are forgotten."""
        found = [line for line in self.requests if "/resolve/" in line]
        self.requests.clear()
        return found


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words):
            """Nothing is printed."""

        def answer(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def answer_json(self, value):
            self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

        def refuse(self, status, code, message):
            self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=message)

        def do_HEAD(self):
            self.do_GET()

        def do_POST(self):
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            api = re.fullmatch(
                r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", path
            )
            file = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            if api:
                self.answer_api(*api.groups())
            elif file:
                self.answer_file("datasets" if file[1] else "models", *file.groups()[1:])
            else:
                self.refuse(404, "", "no such page")

        def found(self, kind, name, revision):
            repository = hub.repositories.get((kind, name))
            if repository is None:
                return self.refuse(401, "RepoNotFound", "Repository not found")
            at = repository.at(revision)
            return at or self.refuse(404, "RevisionNotFound", "Invalid rev id")

        def answer_api(self, kind, name, what, revision, folder):
            at = self.found(kind, name, revision or "main")
            if at is None:
                return None
            sha, files = at
            if what in (None, "revision"):
                return self.answer_json({"id": name, "sha": sha, "siblings": [{"rfilename": each} for each in files]})
            if what == "paths-info":
                asked = dict(part.split("=") for part in self.body.decode().split("&"))
                return self.answer_json([_entry(unquote(asked["paths"]), files[unquote(asked["paths"])])])
            inside = f"{folder}/" if folder else ""
            listed = [each for each in files if each.startswith(inside)]
            if not listed:
                return self.refuse(404, "EntryNotFound", "no such folder")
            deep = "recursive=true" in self.path.lower()
            folders = {
                inside + each.removeprefix(inside).split("/")[0] for each in listed if "/" in each.removeprefix(inside)
            }
            shown = [each for each in listed if deep or "/" not in each.removeprefix(inside)]
            rows = [{"type": "directory", "oid": git_oid(each.encode()), "size": 0, "path": each} for each in folders]
            return self.answer_json([*rows, *(_entry(each, files[each]) for each in shown)])

        def answer_file(self, kind, name, revision, path):
            at = self.found(kind, name, revision)
            if at is None:
                return None
            if hub.repositories[kind, name].gated and self.headers.get("Authorization") != "Bearer hf_allowed":
                return self.refuse(403, "GatedRepo", "Access to this repository is restricted")
            sha, files = at
            if path not in files:
                return self.refuse(404, "EntryNotFound", "Entry not found")
            content = files[path]
            headers = {"ETag": f'"{git_oid(content)}"', "X_Repo_Commit": sha, "Accept_Ranges": "bytes"}
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if asked and self.command == "GET":
                start, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
                part = content[start : last + 1]
                return self.answer(206, part, Content_Range=f"bytes {start}-{last}/{len(content)}", **headers)
            return self.answer(200, content, Content_Length=str(len(content)), **headers)

    return Handler


def _entry(path, content):
    """A file in a listing."""
    entry = {"type": "file", "oid": git_oid(content), "size": len(content), "path": path}
    if len(content) >= LARGE:
        sha = hashlib.sha256(content).hexdigest()
        entry |= {"lfs": {"oid": sha, "size": len(content), "pointerSize": 134}}
    return entry


@pytest.fixture
def hub():
    """A Hub with no repositories, at work until the test ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run_here(hub, tmp_path):
    """Run Python against the stand-in: ``run_here(code or words, status=0, **environment)``; what it printed."""

    def does(*words, status=0, **environment):
        env = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            env.pop(name, None)
        command = [sys.executable, *(words if len(words) > 1 else ("-c", *words))]
        done = subprocess.run(command, cwd=tmp_path, env=env | environment, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + (done.stderr if len(words) > 1 else "")

    return does


@pytest.fixture
def regmix(run_here):
    """The real command against the stand-in: ``regmix(*words, status=0, **environment)``; what it said."""
    return lambda *words, **more: run_here("-m", "regmix_pipeline", *words, **more)
