"""What a classifier says of an image: its likeliest classes, the mirror image asked too, in every form."""

import json

import pytest
import torch
from PIL import Image
from torch import Tensor

from gcvit.tasks.classify.answer import Classification, Guess, class_logits
from gcvit.tasks.classify.settings import ClassifyLooks, ClassifyTelling
from tasks import photos
from tasks.photos import CLASSES, Halves


class Tilted(Halves):
    """An image and its mirror image are not equally loud."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * torch.tensor([1.0, 2.0, 1.0])


def test_with_flip_an_image_and_its_mirror_image_are_the_same() -> None:
    images, flip = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), ClassifyLooks("flip")
    ours, mirrored = (class_logits(Tilted(), x, flip).softmax(1) for x in (images, images.flip(3)))
    torch.testing.assert_close(ours, mirrored)
    plain, other = (class_logits(Tilted(), x, ClassifyLooks()).softmax(1) for x in (images, images.flip(3)))
    assert not torch.allclose(plain, ours, atol=1e-3)
    torch.testing.assert_close(ours, (plain + other) / 2)


def test_the_likeliest_classes_come_first() -> None:
    opened = photos.opened()
    image, _ = photos.Photos([(40, 64)])[0]
    whole = opened.predict(image)
    assert [guess.index for guess in whole.guesses] == sorted(range(3), key=lambda at: -_share(whole, at))
    assert sum(guess.probability for guess in whole.guesses) == pytest.approx(1)
    assert all(guess.label == CLASSES[guess.index] for guess in whole.guesses)
    first = opened.predict(image, telling=ClassifyTelling(top_k=1))
    assert first.guesses == whole.guesses[:1]
    with pytest.raises(ValueError, match="--top-k must be at least 1"):
        ClassifyTelling(top_k=0)


def _share(answer: Classification, index: int) -> float:
    return next(guess.probability for guess in answer.guesses if guess.index == index)


def test_classes_without_names_are_numbers() -> None:
    opened = photos.opened()
    opened.classes = None
    answer = opened.predict(photos.Photos([(40, 64)])[0][0])
    assert [guess.label for guess in answer.guesses] == [str(guess.index) for guess in answer.guesses]


def test_answers_that_are_no_numbers_are_an_error() -> None:
    broken = Halves()
    broken.scale.data.fill_(float("inf"))
    with pytest.raises(ValueError, match="answers are not finite numbers"):
        photos.opened(broken).predict(photos.Photos([(40, 64)])[0][0])


def test_every_form_of_an_answer() -> None:
    guesses = (Guess("n01443537", 1, 0.75), Guess("dog", 0, 0.2499), Guess("cat", 2, 0.0001))
    answer = Classification(Image.new("RGB", (30, 20)), guesses)
    told = json.loads(json.dumps(answer.to_dict()))
    assert told["file"] is None
    assert told["predictions"][0] == {
        "label": "n01443537", "description": "goldfish, Carassius auratus", "index": 1, "probability": 0.75,
    }  # fmt: skip
    assert told["predictions"][1] == {"label": "dog", "index": 0, "probability": 0.2499}
    assert answer.line() == "goldfish (n01443537)  75.0%  dog 25.0%"  # what rounds to nothing is left out
    drawn = answer.draw()
    assert drawn.width >= 640
    assert drawn.height > 640 * 20 / 30
