"""Pictures of which one window says what is to be said at the others: how far a model sees, and what travels.

A picture is 64×64 pixels, 4×4 windows of 16. One of them, anywhere, holds the cue, a large disc; each of the others is
a target and may hold a red and a green blob, one light and one dark. What a target holds says nothing about the cue, so
what does not look beyond it is right in exactly one of as many cases as there are cues.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gcvit.data.sampling import derive_seed

SIDE = 64  # pixels
PATCH = 4
WINDOW = 16  # pixels: 4 tokens of a patch each
GRID = SIDE // WINDOW
DISTANCES = (1, 2, 3)  # windows from cue to target: the larger one of rows and columns
Colour = tuple[float, float, float]

# Red and green, each light and dark; all colours are told from the grey background, which is zero.
BLOBS: tuple[tuple[Colour, Colour], ...] = (((0.5, 0, 0), (0, -0.5, -0.5)), ((0, 0.5, 0), (-0.5, 0, -0.5)))


@dataclass(frozen=True)
class Puzzle:
    """asks: what is to be said at every target. cues: the colours that the far disc may have. blobs: whether targets
    hold any. follows: whether the answer is the blob that the cue chooses, red or green; otherwise it is the cue."""

    asks: str
    cues: tuple[Colour, ...]
    blobs: bool = True
    follows: bool = False

    @property
    def answers(self) -> int:
        """As many as there are cues; all are equally frequent, given all that a target holds."""
        return len(self.cues)


WHITE_BLACK: tuple[Colour, ...] = ((0.5, 0.5, 0.5), (-0.5, -0.5, -0.5))
FOUR: tuple[Colour, ...] = ((-0.5, -0.5, 0.5), (0.5, 0.5, -0.5), (0.5, -0.5, 0.5), (-0.5, 0.5, 0.5))
PUZZLES = {
    "select": Puzzle("the far disc is white or black: name the target's light or dark blob", WHITE_BLACK, follows=True),
    "copy": Puzzle("name the far disc's colour, one of four, where the target holds two blobs", FOUR),
    "copy_empty": Puzzle("name the far disc's colour, one of four, where the target is empty", FOUR, blobs=False),
}


@dataclass(frozen=True)
class Scenes:
    """What is in pictures. cue: which of the puzzle's cues. place: its window, 0 to 15, row by row. dark: of each
    window, 0 where red is the light blob, 1 where it is the dark one. quarters: of each window, in which quarter, 0 to
    3, the red blob lies, and the green one."""

    puzzle: Puzzle
    cue: Int[Tensor, " pictures"]
    place: Int[Tensor, " pictures"]
    dark: Int[Tensor, "pictures windows"]
    quarters: Int[Tensor, "pictures windows 2"]

    @property
    def answers(self) -> Int[Tensor, "pictures windows"]:
        """What is to be said at each window: the cue; or 0 for red, 1 for green."""
        cue = self.cue[:, None]
        return self.dark ^ cue if self.puzzle.follows else cue.expand_as(self.dark)

    @property
    def distances(self) -> Int[Tensor, "pictures windows"]:
        """Of each window from the cue's, in windows; 0 is the cue's own, which is no target."""
        at = torch.arange(GRID * GRID, device=self.place.device)
        rows = (at // GRID - self.place[:, None] // GRID).abs()
        return torch.maximum(rows, (at % GRID - self.place[:, None] % GRID).abs())

    def to(self, device: torch.device) -> "Scenes":
        """The same on another device."""
        moved = (x.to(device) for x in (self.cue, self.place, self.dark, self.quarters))
        return Scenes(self.puzzle, *moved)

    def with_every_cue(self) -> "Scenes":
        """Each scene as many times as there are cues, once with each: who does not see it is right exactly once."""
        kinds = self.puzzle.answers
        again = (x.repeat_interleave(kinds, 0) for x in (self.place, self.dark, self.quarters))
        return Scenes(self.puzzle, torch.arange(kinds, device=self.cue.device).repeat(len(self.cue)), *again)

    def cut(self, number: int) -> "list[Scenes]":
        """In parts of at most so many pictures."""
        parts = zip(*(x.split(number) for x in (self.cue, self.place, self.dark, self.quarters)), strict=True)
        return [Scenes(self.puzzle, *part) for part in parts]

    def paint(self) -> Float[Tensor, "pictures 3 64 64"]:
        """The pictures, without noise; values in -0.5 … 0.5, the background 0."""
        device, number = self.cue.device, len(self.cue)
        windows = torch.zeros(number, GRID * GRID, WINDOW, WINDOW, 3, device=device)
        if self.puzzle.blobs:
            looks = torch.tensor(BLOBS, device=device)
            looks = torch.stack([looks[0][self.dark], looks[1][1 - self.dark]], 2)
            quarters = torch.zeros(number, GRID * GRID, 4, 3, device=device)
            quarters.scatter_(2, self.quarters[..., None].expand(-1, -1, -1, 3), looks)
            blobs = quarters.view(number, GRID * GRID, 2, 1, 2, 1, 3) * disc(WINDOW // 2, device)[:, None, :, None]
            windows = blobs.reshape(windows.shape)
        cues = torch.tensor(self.puzzle.cues, device=device)[self.cue]
        windows[torch.arange(number, device=device), self.place] = cues[:, None, None] * disc(WINDOW, device)[..., None]
        rows = windows.view(number, GRID, GRID, WINDOW, WINDOW, 3).permute(0, 5, 1, 3, 2, 4)
        return rows.reshape(number, 3, SIDE, SIDE)


def disc(side: int, device: torch.device | None = None) -> Float[Tensor, "side side"]:
    """1 inside the largest disc that leaves its square's corners free, 0 outside."""
    at = torch.arange(side, device=device) - (side - 1) / 2
    return (at[:, None] ** 2 + at**2 < (side / 2 - 0.4) ** 2).float()


def draw(puzzle: Puzzle, number: int, *key: int) -> Scenes:
    """So many random scenes; the same for the same key, on any device. Everything is drawn evenly and independently."""
    generator = torch.Generator().manual_seed(derive_seed(*key))
    windows = (number, GRID * GRID)
    return Scenes(
        puzzle,
        torch.randint(puzzle.answers, (number,), generator=generator),
        torch.randint(GRID * GRID, (number,), generator=generator),
        torch.randint(2, windows, generator=generator),
        torch.rand(*windows, 4, generator=generator).argsort(-1)[..., :2],
    )
