"""Published weights: which there are, under which licence, and how they are had without a network."""

import os
import warnings

import pytest
import torch

import gcvit
from gcvit.model import VARIANTS
from gcvit.opening import open as open_model
from gcvit.weights import fetching
from gcvit.weights.catalogue import CATALOGUE, LicenceNotice
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from weights.models import renamed


def test_timms_hub_weights_have_the_same_licence(tmp_path, monkeypatch):
    source = gcvit.create_model("gcvit_xxtiny")
    save_hub(source, tmp_path, preprocessing=Preprocessing())
    monkeypatch.setattr(fetching, "fetch_hub_directory", lambda *_: tmp_path)
    with pytest.warns(LicenceNotice, match="non-commercial"):
        gcvit.load_weights(gcvit.create_model("gcvit_xxtiny"), "timm/gcvit_xxtiny.in1k")


def test_offline_says_how_to_place_the_file(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(fetching, "hf_hub_download", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"(?s)could not be fetched.*nvidia/GCViT.*gcvit_1k_tiny.pth.tar.*place it"
    ) as error:
        gcvit.create_model("gcvit_tiny", pretrained=True)
    # Doing what the message says works.
    place = str(error.value).partition("place it here as ")[2].partition(",")[0].replace("tiny", "xxtiny")
    assert place.startswith(str(tmp_path))
    os.makedirs(os.path.dirname(place))
    source = gcvit.create_model("gcvit_xxtiny")
    torch.save({"state_dict": renamed(source, "nvlabs")}, place)
    with pytest.warns(LicenceNotice, match="non-commercial"):
        model = gcvit.create_model("gcvit_xxtiny", pretrained=True, num_classes=10)
    assert torch.equal(model.norm.weight, source.norm.weight)
    assert model.head.out_features == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = open_model("gcvit_xxtiny")
    assert opened.entry == CATALOGUE["gcvit_xxtiny.nvlabs"]
    assert opened.preprocessing.crop_pct == 1.0


@pytest.mark.parametrize("pretrained", [True, "gcvit_tiny.nvlabs"])
def test_weights_that_nobody_has_published(pretrained):
    with pytest.raises(ValueError, match="no published weights"):
        gcvit.create_model("gcvit_pico", pretrained)


def test_unknown_model_names_the_near_one():
    with pytest.raises(ValueError, match="did you mean gcvit_tiny"):
        gcvit.create_model("gcvit_tinny")


def test_the_catalogue_has_every_published_checkpoint():
    published = [name for name in VARIANTS if name not in ("gcvit_nano", "gcvit_pico")]
    assert {e.model for e in CATALOGUE.values() if e.name.endswith(".nvlabs")} == set(published)
    assert sum(e.name.endswith(".timm") for e in CATALOGUE.values()) == 5
    for entry in CATALOGUE.values():
        assert entry.preprocessing.size == VARIANTS[entry.model].img_size
        assert entry.licence == "CC BY-NC-SA 4.0"
