"""A cashbox for each process of pytest, and a fresh state of it for each test."""

import json
import subprocess
import threading
import urllib.error
import urllib.request

import pytest

TOKEN = "cbx_test-admin-token"  # of every server for tests


class LostAnswer(Exception):
    """The connection was closed without an answer."""


class Cashbox:
    def __init__(self):
        command = ["cashbox", "serve", "--test", "--while-input"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.url = self.process.stdout.readline().split()[-1]  # listening on http://127.0.0.1:34567

    def stop(self):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, method, path, body=None, key=None):
        """The status and the JSON of the answer."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except (urllib.error.URLError, ConnectionError) as error:
            raise LostAnswer(path) from error

    def must(self, method, path, body=None, key=None):
        """The JSON of a good answer."""
        status, answer = self.ask(method, path, body, key)
        assert status < 300, answer
        return answer

    def balance(self, user):
        return self.must("GET", f"/v1/wallets/{user}")["balance"]

    def advance(self, seconds):
        self.must("POST", "/test/clock", {"advance_ms": int(seconds * 1000)})

    def fault(self, effect, **match):
        self.must("POST", "/test/faults", {"do": effect, "match": match})

    def pause(self, at, **match):
        return Pause(self, self.must("POST", "/test/pauses", {"at": at, "match": match})["pause"]["id"])

    def later(self, *arguments, **options):
        """Sends a request from another thread; calling the result gives its answer."""
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.ask(*arguments, **options)))
        thread.start()

        def answer():
            thread.join()
            return answers[0]

        return answer


class Pause:
    """A request that stands still from `reached` to `release`."""

    def __init__(self, cashbox, number):
        self.cashbox, self.path = cashbox, f"/test/pauses/{number}"

    def reached(self):
        assert self.cashbox.must("GET", self.path + "?wait_ms=10000")["pause"]["state"] == "paused"

    def release(self):
        self.cashbox.must("POST", self.path + "/release")


@pytest.fixture(scope="session")
def server():
    cashbox = Cashbox()
    yield cashbox
    cashbox.stop()


@pytest.fixture
def cashbox(server):
    server.must("POST", "/test/reset")
    return server
