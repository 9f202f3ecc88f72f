"""Fetching from a hub: a small server that speaks its protocol stands in for the real one."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from longvid.encoders import build_encoder
from longvid.errors import EncoderError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "somebody/small-vit"


class HubHandler(BaseHTTPRequestHandler):
    """Lists and serves the files of one repository; everything else is answered as the hub does."""

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def answer(self, *, body):
        self.server.asked.append(self.path)
        path, files = self.path.partition("?")[0], self.server.files
        if self.server.refusal:
            self.send(self.server.refusal[0], b"{}", body, {"X-Error-Code": self.server.refusal[1]})
        elif path.startswith(f"/api/models/{MODEL}/tree/"):
            entries = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()]
            self.send(200, json.dumps(entries).encode(), body)
        elif path.startswith(f"/api/models/{MODEL}"):
            siblings = [{"rfilename": name} for name in files]
            self.send(200, json.dumps({"id": MODEL, "sha": COMMIT, "siblings": siblings}).encode(), body)
        elif path.startswith(f"/{MODEL}/resolve/") and path.rpartition("/")[2] in files:
            data = files[path.rpartition("/")[2]]
            etag = hashlib.sha256(data).hexdigest()
            self.send(200, data, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        else:
            self.send(404, b"{}", body, {"X-Error-Code": "EntryNotFound"})

    def send(self, status, data, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *words):
        """Keeps the test's output clean."""


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    server.files, server.refusal, server.asked = {}, None, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(hub, tmp_path, monkeypatch):
    """The hub's client with the server as its hub and an empty cache."""
    from huggingface_hub import constants

    address = f"http://127.0.0.1:{hub.server_address[1]}"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    return constants


def test_a_model_is_fetched_once_and_without_its_pickle(hub, cache, save_model, monkeypatch):
    folder, _ = save_model("vit")
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.files |= {"pytorch_model.bin": b"never asked for", "tf_model.h5": b"nor this"}
    spec = build_encoder(MODEL).spec
    assert spec.weights == f"{MODEL}@{COMMIT[:12]}"
    assert spec.name == f"hf:{MODEL}"
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == {"config.json", "preprocessor_config.json", "model.safetensors"}
    hub.asked.clear()
    assert build_encoder(f"hf:{MODEL}").spec == spec
    monkeypatch.setattr(cache, "HF_HUB_OFFLINE", True)
    assert build_encoder(MODEL).spec == spec
    assert hub.asked == []


def test_random_weights_fetch_the_configuration_only(hub, cache, save_model):
    folder, _ = save_model("vit")
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert build_encoder(MODEL, weights="random", seed=1).spec.weights == "random (seed 1)"
    assert not any("model.safetensors" in path for path in hub.asked)


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((404, "RepoNotFound"), "the hub has no such model"),
        ((403, "GatedRepo"), "accept it on the hub"),
        ((404, "RevisionNotFound"), "has no revision"),
        ((418, ""), "could not be fetched"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(refusal, message, hub, cache):
    hub.refusal = refusal
    with pytest.raises(EncoderError, match=message) as caught:
        build_encoder(MODEL)
    assert str(caught.value).startswith(f"{MODEL}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HF_HUB_OFFLINE", True, "HF_HUB_OFFLINE is set"),
        ("ENDPOINT", "http://127.0.0.1:9", r"http://127\.0\.0\.1:9 cannot be reached"),
        ("ENDPOINT", "http://no-such-host.invalid", "cannot be reached"),
    ],
)
def test_without_a_network_an_uncached_model_fails_in_seconds_and_one_line(name, value, message, cache, monkeypatch):
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(cache, name, value)
    started = time.monotonic()
    with pytest.raises(EncoderError, match=f"{MODEL} is not in the local cache and .*{message}.*hf download") as caught:
        build_encoder(MODEL)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 10
