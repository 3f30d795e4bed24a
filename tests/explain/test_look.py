"""Looking into a model: of any task, at any size, and without leaving a trace in it."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn

from explain.models import NAMES, PADDED, classifier, image, opened_detector, opened_segmenter
from gcvit.errors import UserError
from gcvit.explain import Look, look
from gcvit.model.attention import WindowAttention
from gcvit.tasks.opened import Opened
from laws.models import assert_equal

TASKS: dict[str, Callable[[], Opened]] = {
    "classify": classifier,
    "segment": opened_segmenter,
    "detect": opened_detector,
}


@pytest.fixture(scope="module", params=TASKS)
def opened(request: pytest.FixtureRequest) -> Opened:
    return TASKS[request.param]()


def everything(seen: Look) -> list[torch.Tensor]:
    return [
        seen.attention(),
        seen.attention((1, 0), "window", 0, (3, 5)),
        seen.reads((3, 5)),
        seen.read_by((3, 5)),
        *(seen.rollout(stage) for stage in range(4)),
        seen.rollout(0, by_class=True),
        seen.query(1),
        *(seen.cam(stage=stage, kind=kind) for stage in range(4) for kind in ("grad-cam", "element-wise", "eigen-cam")),
        *seen.split(),
        *seen.split(stage=1),
    ]


def test_every_map_of_every_task(opened: Opened) -> None:
    seen = Look(opened, image(*PADDED))
    assert [target.confidence for target in seen.targets] == sorted((t.confidence for t in seen.targets), reverse=True)
    for found in everything(seen):
        assert found.isfinite().all()
        assert not found.requires_grad
    for stage in range(4):
        for by_class in (False, True):
            found = seen.rollout(stage, by_class=by_class)
            assert found.shape == seen.trace.maps[stage].shape[2:]
            assert abs(float(found.sum()) - 1) < 1e-6
    assert seen.seen().shape == (*PADDED, 3)


def test_a_target_is_what_the_model_says() -> None:
    opened = classifier()
    seen = Look(opened, image())
    logits = opened.model(seen.image)[0]
    assert seen.target().name == NAMES[int(logits.argmax())]
    for wanted in (None, "class c"):
        target = seen.target(wanted)
        assert_equal(target.score(), logits[NAMES.index(target.name)], "its logit")
    with pytest.raises(UserError, match="no 'zebra' to explain in this picture; the likeliest are: class"):
        seen.target("zebra")


def test_an_object_is_asked_about_at_its_box() -> None:
    opened = opened_detector()
    seen = Look(opened, image())
    (found,) = opened.model(seen.image.float())
    assert len(seen.targets) == len(found.boxes) > 1
    assert seen.targets[1].box == pytest.approx(found.boxes[1].tolist(), abs=1e-3)
    assert not torch.equal(seen.cam(0, 1, "element-wise"), seen.cam(1, 1, "element-wise"))


def test_the_parts_of_a_split_are_what_passes_queries_and_what_does_not() -> None:
    """Independently: what passes a query is, for each block, what reaches its output past later queries, carried back
    through everything before it."""
    seen = Look(classifier(), image())
    split = seen.split()
    (whole,) = torch.autograd.grad(seen.targets[0].score(), seen._pass.image, retain_graph=True)
    assert_equal(split.values + split.queries, whole[0], "the parts together", 1e-6)

    used: list[list[torch.Tensor]] = [[], []]
    plain = WindowAttention.queries_keys_values
    for kept, through in zip(used, (True, "values"), strict=True):

        def noted(self, tokens, query, kept=kept, cut=through == "values"):  # type: ignore[no-untyped-def]
            q, k, v = plain(self, tokens, query)
            if cut:
                q = q.detach().requires_grad_()
            kept.append(q)
            return q, k, v

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(WindowAttention, "queries_keys_values", noted)
            picture = seen.image.clone().requires_grad_()
            trace = seen.backbone.trace(picture, "all", through=True)
        score = trace.logits[0, NAMES.index(seen.target().name)]
        if through == "values":
            slopes = torch.autograd.grad(score, used[1])
        else:
            start = picture
    (through_queries,) = torch.autograd.grad(used[0], start, slopes)
    assert_equal(split.queries, through_queries[0], "through queries", 1e-6)
    assert split.queries.norm() > 0.01 * split.values.norm()


def state(model: nn.Module) -> list[object]:
    kept: list[object] = [(name, value.clone()) for name, value in model.state_dict().items()]
    kept += [(name, value.requires_grad, value.grad, value.device) for name, value in model.named_parameters()]
    kept += [
        (name, module.training, len(module._forward_hooks), len(module._backward_hooks))
        for name, module in model.named_modules()
    ]
    return kept


@pytest.mark.parametrize("training", [False, True])
def test_nothing_changes_the_model(opened: Opened, training: bool) -> None:
    opened.model.train(training)
    next(opened.model.children()).eval()  # a mix of modes, as when a part is frozen
    before = state(opened.model)
    everything(Look(opened, image(64, 64)))
    after = state(opened.model)
    opened.model.eval()
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        for a, b in zip(one, other, strict=True):  # type: ignore[call-overload]
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_frozen_models_and_inference_mode() -> None:
    opened = classifier()
    expected = everything(Look(opened, image()))
    opened.model.requires_grad_(False)
    with torch.inference_mode():
        frozen = everything(Look(opened, image()))
    for a, b in zip(expected, frozen, strict=True):
        assert_equal(b, a, "the same maps")


def test_several_at_once() -> None:
    opened = classifier()
    expected = {seed: everything(Look(opened, image(seed=seed))) for seed in (1, 2)}
    wrong = []

    def work(seed: int) -> None:
        found = everything(Look(opened, image(seed=seed)))
        wrong.extend(
            (seed, number)
            for number, (a, b) in enumerate(zip(found, expected[seed], strict=True))
            if not torch.allclose(a, b, rtol=1e-9, atol=1e-12)
        )

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_has_no_inside_is_refused() -> None:
    opened = classifier()
    folded = Opened(opened.task, opened.folded, "small", opened.preprocessing, NAMES)
    with pytest.raises(UserError, match="a folded copy is for inference"):
        Look(folded, image())
    exported = Opened(opened.task, nn.Identity(), "small", opened.preprocessing, source="m.onnx", exported=True)
    with pytest.raises(UserError, match="is an exported file, whose inside cannot be seen"):
        look(exported, "photo.jpg")
