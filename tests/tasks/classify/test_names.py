"""What the classes are called, and how ImageNet's folder names are read."""

from gcvit.tasks.classify.names import class_names, describe, readable, short
from gcvit.weights.catalogue import CATALOGUE


def test_published_weights_know_imagenets_classes() -> None:
    entry = CATALOGUE["gcvit_xxtiny.nvlabs"]
    names = class_names(None, 1000, entry)
    assert names is not None
    assert names == sorted(names)
    assert len(set(names)) == 1000
    assert [(describe(names[at]) or "").split(",")[0] for at in (0, 1, 999)] == ["tench", "goldfish", "toilet tissue"]
    assert class_names(["mine"], 1000, entry) == ["mine"]
    assert class_names(None, 1000, None) is None
    assert class_names(None, 2, entry) is None


def test_imagenets_folder_names_are_read_and_others_left_alone() -> None:
    assert describe("n01443537") == "goldfish, Carassius auratus"
    assert readable("n01443537") == "goldfish (n01443537)"
    assert short("n01443537") == "goldfish"
    for name in ("goldfish", "n99999999", "n0144353", "n01443537x"):
        assert describe(name) is None
        assert readable(name) == short(name) == name
