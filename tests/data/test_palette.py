"""Classes' colours are told apart by everyone, and do not outshine the photograph that they are laid over."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from coloraide import Color

from gcvit.data.label_maps import FIRST, default_palette

EYES = ("all cones", "protan", "deutan", "tritan")  # without red, green or blue ones: simulated
NEUTRAL = [(0, 0, 0), (128, 128, 128), (255, 255, 255)]


@cache
def seen(colour: tuple[int, int, int], eyes: str) -> Color:
    """A colour as it looks to such eyes."""
    shown = Color("srgb", [value / 255 for value in colour])
    return shown if eyes == "all cones" else shown.filter(eyes)


def least(colours: list[tuple[int, int, int]], others: list[tuple[int, int, int]], eyes: str) -> float:
    """The least distance (CIEDE2000; 1 is just to be seen side by side) between any two, or two of both."""
    pairs = combinations(colours, 2) if colours == others else ((one, other) for one in colours for other in others)
    return min(seen(one, eyes).delta_e(seen(other, eyes), method="2000") for one, other in pairs)


def test_the_measure_is_that_of_the_standard() -> None:
    """Three of the pairs that Sharma, Wu and Dalal published (2005)."""
    for one, other, distance in (
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ):
        found = Color("lab-d65", one).delta_e(Color("lab-d65", other), method="2000")
        assert found == pytest.approx(distance, abs=1e-3)


@pytest.mark.parametrize("eyes", EYES)
def test_classes_are_told_apart(eyes: str) -> None:
    colours = default_palette(36)
    assert least(colours[:12], colours[:12], eyes) > (17 if eyes == "all cones" else 12)
    assert least(colours[:24], colours[:24], eyes) > (11 if eyes == "all cones" else 6)
    assert least(colours, colours, eyes) > (8 if eyes == "all cones" else 5.5)
    assert least(NEUTRAL, colours[:12], eyes) > 12
    assert least(NEUTRAL, colours[:24], eyes) > 7


def test_no_colour_glares_and_none_is_grey() -> None:
    chroma = [seen(colour, "all cones").convert("oklch")["chroma"] for colour in FIRST]
    assert max(chroma) < 0.145  # pure green has 0.29, pure red 0.26
    assert min(chroma[1:]) > 0.055
    assert chroma[0] > 0.03  # of what lies behind all others
    later = np.array(default_palette(1500)[len(FIRST) :])
    assert (later.max(1) - later.min(1) < 150).all()
    assert (later.max(1) - later.min(1) > 30).all()
    assert len(set(default_palette(1500))) == 1500
