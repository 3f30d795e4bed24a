"""Maps of attention: what they sum to, and where they lie."""

import pytest
import torch

from explain.models import PADDED, classifier, image
from gcvit.errors import UserError
from gcvit.explain import Look
from gcvit.explain.attention import token_at
from laws.models import assert_equal

SIZES = [PADDED, (64, 128), (32, 32)]


@pytest.fixture(scope="module", params=SIZES, ids=str)
def seen(request: pytest.FixtureRequest) -> Look:
    return Look(classifier(), image(*request.param))


def one(number: torch.Tensor) -> bool:
    return abs(float(number) - 1) < 1e-6


def test_the_image_map_sums_to_one_over_the_picture(seen: Look) -> None:
    for at in seen.blocks:
        block = seen.block(at)
        if not block.shared:
            with pytest.raises(UserError, match="no map over the whole image in a local block"):
                block.map("image")
            continue
        for token in (None, 0, block.window[0] * block.window[1] - 1):
            for head in (None, 0):
                found = block.map("image", head, token)
                assert found.shape == block.size
                assert one(found.sum())
                assert (found >= 0).all()


def test_each_window_sums_to_one_in_the_window_map(seen: Look) -> None:
    for at in seen.blocks:
        block = seen.block(at)
        (h, w), found = block.window, block.map("window")
        for top in range(0, block.size[0], h):
            for left in range(0, block.size[1], w):
                assert one(found[top : top + h, left : left + w].sum())


def test_the_image_map_is_one_softmax_over_the_picture(seen: Look) -> None:
    """Its logarithm is the score, up to one number for the whole picture."""
    stage, number = seen.default_block()
    model, tokens = seen.backbone, {}
    block = model.stages[stage].blocks[number]
    hook = block.attention.register_forward_hook(lambda module, given, out: tokens.update(given=given))
    seen.__class__(seen.opened, seen.image).trace  # noqa: B018
    hook.remove()
    q, k, _ = block.attention.queries_keys_values(*tokens["given"][:2])
    scores = (q @ k.transpose(-1, -2) * block.attention.scale + block.attention.bias())[0]
    found = seen.block((stage, number))
    real = ~found.outside
    for head in range(scores.shape[1]):
        row = scores[:, head, 0][real]
        whole = (row - row.logsumexp(0)).exp()
        weights = (found.weights * found.logsumexp.softmax(0)[..., None])[:, head, 0][real]
        assert_equal(weights, whole, "one softmax over all windows")


def test_what_a_token_reads_lies_in_its_window_and_sums_to_one(seen: Look) -> None:
    for at in seen.blocks:
        block = seen.block(at)
        place = (block.size[0] - 1, block.size[1] // 2)
        top, left = (where // side * side for where, side in zip(place, block.window, strict=True))
        inside = torch.zeros(block.size, dtype=torch.bool)
        inside[top : top + block.window[0], left : left + block.window[1]] = True
        for found in (block.reads(place), block.read_by(place)):
            assert (found[~inside] == 0).all()
            assert (found[inside] > 0).all()
        assert one(block.reads(place).sum())


def test_reading_and_being_read_are_two_sides_of_one_weight(seen: Look) -> None:
    block = seen.block(seen.default_block())
    reader, source = (0, 0), (min(1, block.size[0] - 1), 0)
    if block.at(reader)[0] == block.at(source)[0]:
        assert block.reads(reader, 0)[source] == block.read_by(source, 0)[reader]


def test_norm_is_the_length_of_what_is_added() -> None:
    seen = Look(classifier(layer_scale=0.3), image())
    at = seen.default_block()
    block, found = seen.backbone.stages[at[0]].blocks[at[1]], seen.block(at)
    values = seen.trace.values[at][0]
    head, token = 1, 0
    only = torch.zeros_like(values)
    only[:, head] = values[:, head]  # one key's value, of one head, through the projection and the layer's scale
    added = only.transpose(1, 2).flatten(2) @ block.attention.proj.weight.T * block.scale1.gamma
    expected = found.weights[:, head, token] * added.norm(dim=-1)
    assert_equal(found.map("norm", head, token), found._plane(expected.detach()), "norm")


def test_a_place_is_a_token() -> None:
    assert token_at((69.9, 95.9), PADDED, (3, 3)) == (2, 2)
    assert token_at((0, 32), PADDED, (3, 3)) == (1, 0)
    with pytest.raises(UserError, match="outside the image, which is 70×96 px"):
        token_at((70, 0), PADDED, (3, 3))


def test_what_is_not_there_is_refused(seen: Look) -> None:
    block = seen.block()
    with pytest.raises(UserError, match="no head 9; they are counted from 0 to"):
        block.map("image", head=9)
    with pytest.raises(UserError, match="no map 'picture'; there are image, window, norm"):
        block.map("picture")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"no block \(1, 7\)"):
        seen.block((1, 7))
    with pytest.raises(UserError, match="no stage 4"):
        seen.cam(stage=4)


def test_maps_follow_the_picture() -> None:
    """Shifted by one window of the coarsest kind, the picture's interior has the same map, shifted."""
    model = classifier(windows=((4, 4), (4, 4), (2, 2), (1, 1)))
    step = 64  # pixels: 16, 8, 4, 2 tokens, whole windows everywhere
    wide = image(256, 256, seed=3)
    spot = torch.zeros_like(wide)
    spot[..., 64:128, 64:128] = 3 * wide[..., 64:128, 64:128]
    maps = []
    for shift in (0, step):
        seen = Look(model, spot.roll(shift, -1))
        maps.append([seen.attention(at, "window") for at in seen.blocks if at[0] in (1, 2) and seen.block(at).shared])
    for before, after in zip(*maps, strict=True):
        tokens = before.shape[1] * step // 256
        border = tokens // 2
        a = before[border:-border, border : -tokens - border]
        b = after.roll(-tokens, 1)[border:-border, border : -tokens - border]
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] >= 0.95
