"""How long the rest of a run will take, from what its parts have taken so far."""

import time

SURE_AFTER = 2.0  # seconds of training before the time left is known well enough


class Pace:
    """Steps, which take alike, saves between them, and a number of evaluations, which also take alike.

    steps: of the run. ahead: evaluations to come, with the one that goes on; the last one, of the best weights, too.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.step, self.ahead = steps, 0, 0
        self._seen, self._seconds = 0, 0.0  # steps, and what they took with the saves between them
        self._evaluations: list[float] = []
        self._mark: float | None = None  # the end of the last step, or of what came after it
        self._evaluating: float | None = None  # since when

    def stepped(self, step: int) -> None:
        """`step` steps are done. The first one that this process takes, when everything starts, is not typical."""
        self._count_time()
        if self._mark is not None:
            self._seen += step - self.step
        self.step, self._mark = step, time.monotonic()

    def evaluate(self) -> None:
        """An evaluation begins."""
        self._count_time()
        self._evaluating = time.monotonic()

    def evaluated(self) -> None:
        """It has ended."""
        assert self._evaluating is not None
        now = time.monotonic()
        self._evaluations.append(now - self._evaluating)
        self.ahead -= 1
        self._evaluating, self._mark = None, self._mark and now

    def recall(self, seconds: float) -> None:
        """An evaluation took so long before the run went on."""
        self._evaluations.append(seconds)

    def _count_time(self) -> None:
        if self._mark is not None:
            self._seconds += time.monotonic() - self._mark

    def left(self, sure_after: float = SURE_AFTER) -> str:
        """The time left: "0:12:30 left"; "over …" while no evaluation has been seen, and nothing before it is known."""
        steps, known = self.steps - self.step, bool(self._evaluations)
        if (steps and (not self._seen or self._seconds < sure_after)) or (self.ahead and not steps and not known):
            return ""
        seconds = steps * self._seconds / max(self._seen, 1)
        if known:
            one = sum(self._evaluations) / len(self._evaluations)
            done = 0.0 if self._evaluating is None else time.monotonic() - self._evaluating
            seconds += self.ahead * one - min(done, one)
        return f"{'over ' if self.ahead and not known else ''}{clock(seconds)} left"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: "1:02:03"."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
