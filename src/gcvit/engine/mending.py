"""Whether best/ and last/ are what a run has saved, and how they become so again."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gcvit import distributed
from gcvit.engine.checkpoint import Saver, load_result, verify
from gcvit.engine.loop import Plan
from gcvit.engine.objective import Objective
from gcvit.engine.results import Results, Saved
from gcvit.engine.state import State
from gcvit.errors import UserError
from gcvit.files import write_atomically
from gcvit.meta import BEST, LAST, DamagedCheckpoint, checkpoint_path, damage_in

GIVEN_UP = "damaged-best"  # beside best/: whoever makes it knows that the best weights are lost
OTHER = {BEST: LAST, LAST: BEST}


class Trained(NamedTuple):
    """A run that may have to save once more: its state, whose `result` is lent for other weights and not given back,
    and what else saving takes. step: of the checkpoint that keeps the record of the results."""

    state: State
    objective: Objective
    plan: Plan
    saver: Saver
    step: int


def mend(results: Results, run: Trained, say: Callable[[str], None], later: Mapping[str, Saved] | None = None) -> None:
    """See that best/ and last/ hold what `results` says.

    What was written aside when the run was killed is put there; what is damaged or missing is made again, from a
    checkpoint or from each other, and told. later: what they held when a checkpoint was saved that is damaged now and
    comes after the one that is gone on from: no damage, and weights as good as any.

    Raises UserError, on all ranks, when the best weights are damaged and nothing has them any more. last/ is written
    anew after the next evaluation.
    """
    before = results.saved
    results.saved, damage = distributed.on_main(lambda: _found(results, later or {}))
    if results.saved != before:
        run.saver.note(run.step, results.record())
    given_up = distributed.on_main(lambda: (results.folder / GIVEN_UP).exists() and not results.best.exists())
    for name, what in damage.items():
        wanted = [name, LAST] if given_up else [name]
        if any(_make_again(results, run, name, results.saved[like], what, say) for like in wanted):
            continue
        saved = results.saved.pop(name)
        lost = f"{what}. {name}/ had {saved}, and no checkpoint has these weights any more"
        if name == BEST and not given_up:
            raise UserError(
                f"{lost}. Put the file back from a copy; or give the weights up, and the best is chosen from the "
                f"epochs that can still be saved: rename {results.best} to {GIVEN_UP} (where it is missing, make an "
                f"empty folder of that name beside it)"
            )
        say(f"{lost}; it is written anew after the next evaluation")
    distributed.on_main(results.clear)


def _found(results: Results, later: Mapping[str, Saved]) -> tuple[dict[str, Saved], dict[str, str]]:
    """What is in best/ and last/ as far as it is known, and what is wrong with either."""
    found, damage = dict(results.saved), {}
    for name in OTHER:
        place, saved, after = results.folder / name, results.saved.get(name), later.get(name)
        if saved is not None:
            results.put_in_place(name, saved)
        wrong = saved and damage_in(place, saved.files)
        if after is not None and (saved is None or wrong) and damage_in(place, after.files) is None:
            if name == BEST:  # last/ will be overwritten
                found[name] = after
        elif wrong:
            damage[name] = wrong
    return found, damage


def _make_again(
    results: Results, run: Trained, name: str, saved: Saved, damage: str, say: Callable[[str], None]
) -> bool:
    """Whether the weights `saved` are still to be had: then they are in the folder `name` now."""

    def look() -> str | None:
        other, path = OTHER[name], checkpoint_path(run.saver.folder, run.plan.step_of(saved.epoch))
        twin = results.saved.get(other)
        if twin is not None and twin.epoch == saved.epoch and damage_in(results.folder / other, twin.files) is None:
            place = results.aside / name
            place.mkdir(parents=True, exist_ok=True)
            for file in twin.files:
                write_atomically(place / file, (results.folder / other / file).read_bytes())
            return other
        try:
            verify(path)
        except DamagedCheckpoint:
            return None
        load_result(path, run.state)
        return path.name

    def commit() -> None:
        if name == BEST:
            for event in results.evaluations:
                earlier = event["best"] and event["epoch"] < saved.epoch
                event["best"] = earlier or event["epoch"] == saved.epoch
        run.saver.note(run.step, results.record())

    source = distributed.on_main(look)
    if source is None:
        return False
    if source == OTHER[name]:
        results.saved[name] = results.saved[source]
        commit()
        distributed.on_main(lambda: results.put_in_place(name, results.saved[name]))
    else:
        results.save(run.objective, run.state.result, saved.epoch, saved.metrics, [name], commit)
    say(f"{damage}; {name}/ was made again, with {saved}, from {source}")
    return True
