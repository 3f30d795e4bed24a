"""Fetching: pinned, from one commit, and given up at the first failure where there is no network."""

import hashlib
import time
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

import gcvit
from gcvit.errors import UserError
from gcvit.opening import open as open_model
from gcvit.weights import catalogue, fetching
from gcvit.weights.catalogue import CATALOGUE
from gcvit.weights.hub import save_hub
from gcvit.weights.resolve import CONFIG_FILE, PICKLED_FILE, WEIGHTS_FILE, resolve
from weights.models import PREPROCESSING, pico

COMMIT = "0f" * 20


class Hub:
    """A hub in a folder, or one that cannot be reached: counts what it is asked."""

    def __init__(self, root, files, reachable=True):
        self.root, self.files, self.reachable, self.asked = root, files, reachable, []

    def metadata(self, url, **_):
        self.asked.append(url)
        if not self.reachable:
            raise ConnectionError("no route to host")

    def download(self, repository, file, revision=None, local_files_only=False):
        self.asked.append((file, revision, local_files_only))
        cached = self.root / "snapshots" / COMMIT / file
        if local_files_only and not cached.is_file():
            raise LocalEntryNotFoundError("outgoing traffic has been disabled")
        if file not in self.files:
            raise Missing(file)
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(self.files[file])
        return str(cached)


class Missing(EntryNotFoundError, HfHubHTTPError):
    """What the hub says of a file that a repository does not have; made without a response."""

    def __init__(self, file):
        OSError.__init__(self, f"404: {file}")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    folder = save_hub(pico(), tmp_path / "made", preprocessing=PREPROCESSING)
    found = Hub(tmp_path / "cache", {file: (folder / file).read_bytes() for file in (CONFIG_FILE, WEIGHTS_FILE)})
    monkeypatch.setattr(fetching, "get_hf_file_metadata", found.metadata)
    monkeypatch.setattr(fetching, "hf_hub_download", found.download)
    monkeypatch.setattr(fetching, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return found


def test_both_files_are_of_the_commit_that_the_first_was_of(hub):
    assert open_model("owner/name@v1").name == "gcvit_pico"
    downloads = [asked for asked in hub.asked if isinstance(asked, tuple)]
    assert downloads == [(CONFIG_FILE, "v1", False), (WEIGHTS_FILE, COMMIT, False)]
    assert "/resolve/v1/config.json" in hub.asked[0]


def test_older_repositories_have_pickled_weights(hub, tmp_path):
    torch.save(pico().state_dict(), tmp_path / "w.bin")
    hub.files[PICKLED_FILE] = (tmp_path / "w.bin").read_bytes()
    del hub.files[WEIGHTS_FILE]
    assert open_model("owner/name").name == "gcvit_pico"


def test_offline_is_one_quick_failure_with_what_to_place_where(hub, tmp_path):
    hub.reachable = False
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"(?s)no route to host.*download.*gcvit_1k_tiny\.pth\.tar.*place it here as"):
        gcvit.create_model("gcvit_tiny", pretrained=True)
    with pytest.raises(UserError, match=r"as a hub repository it could not be fetched \(no route to host\)"):
        open_model("owner/name")
    assert [type(asked) for asked in hub.asked] == [str, tuple, str, tuple]  # once each, then the cache
    assert time.perf_counter() - start < 5


def test_offline_takes_what_is_in_the_cache(hub):
    open_model("owner/name")
    hub.reachable = False
    assert open_model("owner/name").name == "gcvit_pico"
    assert hub.asked[-1] == (WEIGHTS_FILE, COMMIT, True)


def test_what_is_pinned_and_cached_asks_nobody(hub, monkeypatch, tmp_path):
    open_model("owner/name")
    monkeypatch.setattr(
        fetching, "try_to_load_from_cache", lambda _, file, revision: str(hub.root / "snapshots" / revision / file)
    )
    hub.asked.clear()
    assert open_model(f"owner/name@{COMMIT}").name == "gcvit_pico"
    assert hub.asked == []


def test_a_hub_that_answers_with_an_error_is_quoted(hub, monkeypatch):
    def gone(*_, **__):
        raise Missing("config.json")

    monkeypatch.setattr(fetching, "get_hf_file_metadata", gone)
    monkeypatch.setattr(fetching, "hf_hub_download", gone)
    with pytest.raises(UserError, match=r"could not be fetched \(404: config\.json\)"):
        open_model("owner/name")


def test_a_release_is_not_asked_for_when_offline(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(fetching, "download_url_to_file", None)
    with pytest.raises(UserError, match=r"(?s)HF_HUB_OFFLINE is set.*download.*v0\.1-weights-morevit.*place it here"):
        gcvit.create_model("gcvit_tiny", pretrained="gcvit_tiny.timm")


def test_a_release_that_cannot_be_reached_is_given_up_at_once(monkeypatch, tmp_path):
    asked = []

    def unreachable(request, timeout):
        asked.append((request.method, request.full_url, timeout))
        raise OSError("timed out")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(fetching, "urlopen", unreachable)
    with pytest.raises(UserError, match=r"(?s)timed out.*place it here"):
        gcvit.create_model("gcvit_tiny", pretrained="gcvit_tiny.timm")
    assert asked == [("HEAD", CATALOGUE["gcvit_tiny.timm"].url, constants.HF_HUB_ETAG_TIMEOUT)]


def test_timms_files_carry_their_hash_in_their_names():
    for entry in CATALOGUE.values():
        assert (entry.sha256 is None) == entry.name.endswith(".nvlabs")
        if entry.sha256:
            assert len(entry.sha256) == 8
            assert entry.file.endswith(f"-{entry.sha256}.pth")


def test_a_file_with_another_hash_is_not_the_published_one(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source = resolve("gcvit_xxtiny.timm")
    place = tmp_path / "hub" / "checkpoints" / source.entry.file
    place.parent.mkdir(parents=True)
    place.write_bytes(b"something else")
    digest = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(UserError, match=f"SHA-256 begins with {digest[:8]}, not {source.entry.sha256}"):
        fetching.fetch(source)
    known = replace(source, entry=replace(source.entry, sha256=digest))
    assert fetching.fetch(known) == place


def test_a_published_file_must_be_the_model_that_it_is_called(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / CATALOGUE["gcvit_tiny.nvlabs"].file
    place.parent.mkdir(parents=True)
    torch.save(pico().state_dict(), place)
    catalogue._told.add("gcvit_tiny.nvlabs")
    for opened in (lambda: open_model("gcvit_tiny"), lambda: gcvit.create_model("gcvit_tiny", pretrained=True)):
        with pytest.raises(UserError, match=r"is not the published gcvit_tiny\.nvlabs; missing .*of another shape"):
            opened()
    opened = open_model(place)  # by its path it is what it is
    assert (opened.name, opened.entry) == ("gcvit_pico", None)
