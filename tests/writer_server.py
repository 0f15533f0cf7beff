"""A local server that writes hints like OpenAI, bills for them, and fails on request: live, and in batches.

What it does with a request depends on the request, on how often it came, and on the seed, never on the order of arrival.
"""

import hashlib
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROMPT_PICO, COMPLETION_PICO = 2_500_000, 10_000_000  # 2.5 and 10 USD a million tokens
FREE = ("429", "500")
SILENT = ("timeout", "cut", "no_json")
"""Billed, and the caller never gets to know the bill."""
TOLD = ("bad_json", "wrong_schema", "slow", None)
"""Billed, with a bill."""
FAULTS = (*FREE, *SILENT, "bad_json", "wrong_schema", "slow")


def said(hints):
    """What hints say and who said it, without what each writing cost: re-asks cost more, and say the same."""
    return [(hint.id, hint.text, hint.sources, hint.count, hint.writer) for hint in hints]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One request to write hints."""

    prompt: str
    fault: str | None
    pico: int
    """What it is billed with."""


@dataclass(slots=True)
class WriterServer:
    faults: dict[str, float] = field(default_factory=dict)
    """Probability of each fault at a request; `bad_json` and `wrong_schema` at first questions only, so that one re-ask is enough."""
    seed: int = 0
    latency_s: float = 0.0
    hang_s: float = 6.0
    batch_polls: int = 2
    """Looks at a batch before it is over."""
    line_faults: tuple[str, ...] = ()
    """Of the first batch's lines, in turn: "500", "expired", "bad_json", "lost" or "" for none."""
    bills: list[Bill] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict] = field(default_factory=dict)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    """By "METHOD /path": what is done is done at once, and the answer leaves when the event is set."""
    polls: Counter = field(default_factory=Counter)
    times: Counter = field(default_factory=Counter)
    in_flight: int = 0
    peak: int = 0
    """Most requests that were worked on at once."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    http: ThreadingHTTPServer | None = None

    def start(self):
        server = self

        class Handler(_Handler):
            writer = server

        class Http(ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # A client that was killed or gave up.

        self.http = Http(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def close(self):
        for gate in self.gates.values():
            gate.set()
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    @property
    def billed(self):
        return sum(bill.pico for bill in self.bills)

    def fault_of(self, body) -> str | None:
        prompt = prompt_of(body)
        with self.lock:
            self.times[prompt] += 1
            rng = random.Random(f"{self.seed}|{prompt}|{self.times[prompt]}")
        drawn, fault = rng.random(), None
        for name, share in self.faults.items():
            drawn -= share
            if drawn < 0:
                fault = name
                break
        reasked = len(body["messages"]) > 2
        return None if reasked and fault in ("bad_json", "wrong_schema") else fault

    def record(self, body, fault, answer) -> None:
        pico = 0 if fault in FREE else cost_of(answer["usage"])
        with self.lock:
            self.bills.append(Bill(prompt=prompt_of(body), fault=fault, pico=pico))


def prompt_of(body) -> str:
    document = json.dumps([body["messages"], body["model"], body["max_tokens"]])
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def hints_of(body) -> list[str]:
    """Advice that differs from failure to failure, in letters only."""
    digest = hashlib.sha256(body["messages"][1]["content"].encode()).digest()
    word = "".join(chr(97 + byte % 26) for byte in digest[:10])
    return [
        f"Open the {{container}} and look for the {{object}} called {word}.",
        f"Take the {word} before you go on.",
    ]


def completion_for(body, fault=None) -> dict:
    text = json.dumps({"hints": [{"text": text} for text in hints_of(body)]})
    if fault == "bad_json":
        text = "Here is what I would have done: open everything"
    elif fault == "wrong_schema":
        text = json.dumps({"advice_for_the_agent": 3})
    size = sum(len(message["content"].encode()) for message in body["messages"])
    usage = {"prompt_tokens": size // 4, "completion_tokens": len(text) // 4}
    usage["total_tokens"] = sum(usage.values())
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {
        "id": "c", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice], "usage": usage,
    }  # fmt: skip


def cost_of(usage) -> int:
    return usage["prompt_tokens"] * PROMPT_PICO + usage["completion_tokens"] * COMPLETION_PICO


class _Handler(BaseHTTPRequestHandler):
    writer: WriterServer

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["content-length"]))
        path = self._note("POST")
        if path == "/chat/completions":
            self._chat(json.loads(raw))
        elif path == "/files":
            self._send(
                {"id": self._upload(raw), "object": "file", "bytes": len(raw), "purpose": "batch"} | _FILE
            )
        elif path == "/batches":
            self._send(_view(self._create(json.loads(raw))))
        else:
            self._send({"error": {"message": "no such path"}}, 404)

    def do_GET(self):
        path = self._note("GET")
        parts = path.split("?")[0].strip("/").split("/")
        if parts == ["batches"]:
            found = list(reversed(self.writer.batches.values()))
            self._send({"object": "list", "data": [_view(batch) for batch in found], "has_more": False})
        elif parts[0] == "batches" and parts[1] in self.writer.batches:
            self._send(_view(self._advance(self.writer.batches[parts[1]])))
        elif parts[0] == "files" and parts[-1] == "content" and parts[1] in self.writer.files:
            self._raw(self.writer.files[parts[1]])
        else:
            self._send({"error": {"message": "no such path"}}, 404)

    def _note(self, method):
        path = self.path.removeprefix("/v1")
        with self.writer.lock:
            self.writer.paths.append(f"{method} {path.split('?')[0]}")
        return path

    def _chat(self, body):
        server = self.writer
        fault = server.fault_of(body)
        with server.lock:
            server.in_flight += 1
            server.peak = max(server.peak, server.in_flight)
        time.sleep(server.latency_s)
        with server.lock:
            server.in_flight -= 1
        answer = completion_for(body, fault)
        server.record(body, fault, answer)
        echo = {"error": {"message": f"no luck with {self.headers['authorization']}"}}
        if fault == "429":
            self._send(echo, 429, _pauses(server.times[prompt_of(body)]))
        elif fault == "500":
            self._send(echo, 500)
        elif fault == "timeout":
            time.sleep(server.hang_s)
        elif fault == "cut":
            self._cut(answer)
        elif fault == "no_json":
            self._raw(json.dumps(answer).encode()[:-20])
        else:
            self._send(answer, drip_s=0.02 if fault == "slow" else 0)

    def _upload(self, raw):
        with self.writer.lock:
            file_id = f"file-{sum(name.startswith('file-') for name in self.writer.files)}"
            start = raw.index(b"\r\n\r\n", raw.index(b'filename="')) + 4
            boundary = b"\r\n--" + raw[2 : raw.index(b"\r\n")]
            self.writer.files[file_id] = raw[start : raw.index(boundary, start)]
        return file_id

    def _create(self, wish):
        server = self.writer
        with server.lock:
            number = len(server.batches)
            batch = {"id": f"batch_{number}", "input_file_id": wish["input_file_id"], "status": "in_progress"}
            server.batches[batch["id"]] = batch
        output, errors = [], []
        faults = self.writer.line_faults if number == 0 else ()
        for n, line in enumerate(server.files[wish["input_file_id"]].decode().splitlines()):
            request = json.loads(line)
            fault = faults[n % len(faults)] if faults else ""
            _answer(server, request, fault, output, errors)
        for name, lines in (("output", output), ("error", errors)):
            if lines:
                server.files[f"{batch['id']}-{name}"] = "".join(
                    json.dumps(line) + "\n" for line in lines
                ).encode()
                batch[f"{name}_file_id"] = f"{batch['id']}-{name}"
        batch["ends_as"] = "expired" if "expired" in faults else "completed"
        return batch

    def _advance(self, batch):
        server = self.writer
        with server.lock:
            server.polls[batch["id"]] += 1
            if server.polls[batch["id"]] > server.batch_polls:
                batch["status"] = batch["ends_as"]
        return batch

    def _send(self, document, status=200, headers=(), drip_s=0.0):
        self._raw(json.dumps(document).encode(), status, headers, drip_s)

    def _raw(self, raw, status=200, headers=(), drip_s=0.0):
        if gate := self.writer.gates.get(f"{self.command} {self.path.removeprefix('/v1').split('?')[0]}"):
            gate.wait(30)
        self.send_response(status)
        for name, value in {"content-type": "application/json", **dict(headers)}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        step = 64 if drip_s else len(raw)
        for start in range(0, len(raw), step):
            self.wfile.write(raw[start : start + step])
            self.wfile.flush()
            time.sleep(drip_s)

    def _cut(self, document):
        raw = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw[: len(raw) // 2])

    def log_message(self, *_):
        pass


_FILE = {"created_at": 0, "filename": "hints.jsonl", "status": "processed"}


def _pauses(nth):
    """Each way of asking for a pause in its turn."""
    later = formatdate(time.time() + 1, usegmt=True)
    return [
        {"retry-after-ms": "40"},
        {"retry-after": "0.05"},
        {"retry-after": later, "date": later},
    ][nth % 3]


def _answer(server, request, fault, output, errors):
    body, custom_id = request["body"], request["custom_id"]
    if fault == "500":
        response = {"status_code": 500, "body": {"error": {"message": "oops"}}}
        errors.append({"id": "r", "custom_id": custom_id, "response": response, "error": None})
    elif fault == "expired":
        error = {
            "code": "batch_expired",
            "message": "This request could not be executed before the deadline.",
        }
        errors.append({"id": "r", "custom_id": custom_id, "response": None, "error": error})
    else:
        answer = completion_for(body, fault)
        server.record(body, fault or None, answer)
        if fault != "lost":
            response = {"status_code": 200, "request_id": "q", "body": answer}
            output.append({"id": "r", "custom_id": custom_id, "response": response, "error": None})


def _view(batch):
    shown = {
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "created_at": 0,
    }
    hidden = (
        ("ends_as",)
        if batch["status"] not in ("in_progress",)
        else ("ends_as", "output_file_id", "error_file_id")
    )
    return shown | {name: value for name, value in batch.items() if name not in hidden}
