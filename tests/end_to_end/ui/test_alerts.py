"""A run fails in `regmix ui`: its daemon says so to a webhook and by e-mail, to servers that listen on this machine."""

import asyncio
import contextlib
import email
import json
import signal
import socket
import threading
from email.policy import default
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Post(BaseHTTPRequestHandler):
    """Keeps what is posted; refuses it while the server's ``status`` says so."""

    def do_POST(self):
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def webhook():
    """A server of HTTP, with what was posted to it."""
    server = HTTPServer(("127.0.0.1", 0), Post)
    server.posted, server.status = [], 204
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


class Mail:
    """A server of SMTP, as RFC 5321 asks of the smallest one: ``letters`` are (recipients, message)."""

    def __init__(self):
        self.letters, self.port = [], None
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()
        assert self._ready.wait(30)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._session, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _session(self, reader, writer):
        writer.write(b"220 here\r\n")
        recipients = []
        while line := await reader.readline():
            word = line.split()[0].upper()
            answer = b"250 ok"
            if word == b"RCPT":
                recipients.append(line.partition(b"<")[2].partition(b">")[0].decode())
            elif word == b"DATA":
                writer.write(b"354 go on\r\n")
                text = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
                self.letters.append((recipients, email.message_from_bytes(text, policy=default)))
                recipients = []
            elif word == b"QUIT":
                answer = b"221 bye"
            writer.write(answer + b"\r\n")
        writer.close()

    def stop(self):
        """End the server."""
        self._loop.call_soon_threadsafe(self._loop.stop)


@pytest.fixture
def mail():
    """A server of SMTP."""
    server = Mail()
    yield server
    server.stop()


@contextlib.contextmanager
def opened(study, dagster_at, until, environment):
    """`regmix ui` on a study, its webserver, daemon and sensors at work."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui = study.start("ui", "--port", str(port), environment=environment)
    try:
        dagster = dagster_at(study.folder, port)
        until(lambda: dagster.skips("new_domains"), "the daemon's first look")
        yield dagster
        ui.signal(signal.SIGTERM, "first")
        assert ui.ended() == 143, ui.text
    finally:
        ui.kill_all()


def test_a_failed_run_is_said_once_to_each_place(study, dagster_at, until, webhook, mail):
    environment = {
        "REGMIX_ALERT_WEBHOOK": f"http://127.0.0.1:{webhook.server_port}/hook",
        "REGMIX_ALERT_EMAIL": "ana@example.com, ben@example.com",
        "REGMIX_ALERT_FROM": "regmix@example.com",
        "REGMIX_SMTP": f"127.0.0.1:{mail.port}",
    }
    with opened(study, dagster_at, until, environment) as dagster:
        assert dagster.materialise("mixture_decision") == "FAILURE"  # nothing was made that it could be made from
        until(lambda: webhook.posted and mail.letters, "the first word of it")
        webhook.status = 500
        assert dagster.materialise("regressor") == "FAILURE"
        until(lambda: len(mail.letters) == 2, "word of the second, by e-mail although the webhook refuses")
        webhook.status = 204
        assert dagster.materialise("mixture_decision") == "FAILURE"
        until(lambda: len(mail.letters) == 3, "word of the third")
    assert [said["assets"] for said in webhook.posted] == [
        [f"tiny/{name}"]
        for name in (
            "mixture_decision",
            "regressor",
            "mixture_decision",
        )
    ]
    for said, (recipients, letter) in zip(webhook.posted, mail.letters, strict=True):
        assert recipients == ["ana@example.com", "ben@example.com"]
        assert letter["From"] == "regmix@example.com"
        assert letter["Subject"].strip().startswith(f"regmix study tiny: run {said['run'][:8]} failed: ")
        assert json.loads(letter.get_content()) == said
        assert said["study"] == "tiny"
        assert said["error"]
