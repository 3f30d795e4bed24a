"""A target says nothing of the cue, answers are even, one key is one set of pictures, and who may know, and who may
not, follows from the design alone."""

from dataclasses import replace

import pytest
import torch

from gcvit.bench.claims import ARMS, Solver, measure
from gcvit.bench.puzzles import DISTANCES, GRID, PUZZLES, WINDOW, Scenes, disc, draw

CPU = torch.device("cpu")


def windows(pictures: torch.Tensor) -> torch.Tensor:
    """(pictures, windows, everything in it)."""
    cut = pictures.unfold(2, WINDOW, WINDOW).unfold(3, WINDOW, WINDOW)
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(len(pictures), GRID * GRID, -1)


@pytest.fixture(params=PUZZLES)
def scenes(request: pytest.FixtureRequest) -> Scenes:
    return draw(PUZZLES[request.param], 64, 5)


def test_targets_are_the_same_with_every_cue_and_each_answer_comes_once(scenes: Scenes) -> None:
    """So no function of a target's pixels is right more often than once in as many cues: local attention is at chance,
    exactly."""
    kinds = scenes.puzzle.answers
    shown = scenes.with_every_cue()
    pixels, answers = (x.view(len(scenes.cue), kinds, GRID * GRID, -1) for x in (windows(shown.paint()), shown.answers))
    target = scenes.distances > 0
    assert target.sum(1).eq(GRID * GRID - 1).all()
    assert (pixels == pixels[:, :1]).all(-1).all(1)[target].all()
    assert not (pixels == pixels[:, :1]).all(-1)[:, 1:][~target[:, None].expand(-1, kinds - 1, -1)].any()
    assert torch.equal(answers.sort(1).values, torch.arange(kinds)[None, :, None, None].expand_as(answers))


def test_what_is_asked_is_what_is_painted() -> None:
    """Read back from the pixels: the light blob is the one with the larger sum of colours."""
    scenes = draw(PUZZLES["select"], 32, 1)
    pixels = windows(scenes.paint()).unflatten(-1, (3, -1))
    red, green = ((pixels[:, :, one] > pixels[:, :, other]) for one, other in ((0, 1), (1, 0)))
    brightness = [(pixels.mean(2) * blob).sum(-1) for blob in (red, green)]
    lighter = (brightness[1] > brightness[0]).long()  # 1: the green one
    wanted = torch.where(scenes.cue[:, None] == 0, lighter, 1 - lighter)  # cue 0 is white: name the light one
    target = scenes.distances > 0
    assert torch.equal(wanted[target], scenes.answers[target])
    at = torch.arange(32)
    assert torch.equal(pixels[at, scenes.place].mean((1, 2)) > 0, scenes.cue == 0)
    assert red.sum(-1)[target].eq(disc(8).sum()).all()


def test_answers_cues_and_places_are_even(scenes: Scenes) -> None:
    many = draw(scenes.puzzle, 4000, 2)
    answers = many.answers[many.distances > 0]
    for values, kinds in ((answers, many.puzzle.answers), (many.cue, many.puzzle.answers), (many.place, 16)):
        shares = torch.bincount(values, minlength=kinds) / len(values)
        assert (shares - 1 / kinds).abs().max() < 0.03


def test_a_key_is_one_set_of_scenes(scenes: Scenes) -> None:
    again, other = draw(scenes.puzzle, 64, 5), draw(scenes.puzzle, 64, 6)
    assert torch.equal(scenes.paint(), again.paint())
    assert torch.equal(scenes.answers, again.answers)
    assert not torch.equal(scenes.paint(), other.paint())
    assert torch.equal(torch.cat([part.paint() for part in scenes.cut(48)]), scenes.paint())


def test_distances_count_windows() -> None:
    scenes = replace(draw(PUZZLES["copy"], 2, 0), place=torch.tensor([0, 5]))
    assert scenes.distances.view(2, GRID, GRID).tolist() == [
        [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]],
        [[1, 1, 1, 2], [1, 0, 1, 2], [1, 1, 1, 2], [2, 2, 2, 2]],
    ]


def moved(arm: str, puzzle: str, *, long: bool = False) -> list[float]:
    """By how much logits of targets differ between two cues, at each distance, in fp64."""
    torch.manual_seed(0)
    model = Solver(ARMS[arm], 16, PUZZLES[puzzle].answers, long=long).double().eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    scenes = draw(PUZZLES[puzzle], 2 if long else 24, 3)
    scenes.place[0] = 0  # in a corner, so that there are targets at every distance
    with torch.no_grad():
        one, other = (model(replace(scenes, cue=torch.full_like(scenes.cue, n)).paint().double()) for n in (0, 1))
    change = (one - other).abs().amax(-1)
    return [change[scenes.distances == distance].max().item() for distance in DISTANCES]


@pytest.mark.parametrize("puzzle", PUZZLES)
@pytest.mark.parametrize("arm", ARMS)
def test_who_can_know(arm: str, puzzle: str) -> None:
    """Local attention never. Swin as far as its shifts lead: with four blocks two windows. Global queries everywhere,
    but nothing comes of them where there is nothing to choose from; global keys and values, and full attention,
    everywhere."""
    reach = {"local": 0, "swin_4": 2}.get(arm, 3)
    if arm.startswith("gcvit") and not PUZZLES[puzzle].blobs:
        reach = 0
    check(moved(arm, puzzle), reach)


@pytest.mark.parametrize(
    ("arm", "puzzle", "reach"),
    [("local", "copy", 0), ("gcvit", "copy", 3), ("gcvit", "copy_empty", 0), ("v", "copy_empty", 3)],
)
def test_who_can_know_in_the_long_form(arm: str, puzzle: str, reach: int) -> None:
    """The same: what goes from stage to stage stays in its window."""
    check(moved(arm, puzzle, long=True), reach)


def check(changes: list[float], reach: int) -> None:
    """Answers change as far as `reach`, and not beyond."""
    for distance, change in zip(DISTANCES, changes, strict=True):
        assert (change > 1e-8) == (distance <= reach), (distance, change)
        assert change > 1e-8 or change < 1e-10


def test_who_cannot_know_is_exactly_at_chance() -> None:
    for puzzle in PUZZLES.values():
        torch.manual_seed(1)
        found = measure(Solver(ARMS["local"], 16, puzzle.answers, long=False), draw(puzzle, 9, 4), 7, CPU)
        assert found["accuracy"] == [1 / puzzle.answers] * 3
        assert max(found["bits"]) < 1e-6  # less is a mistake that is sure of itself
