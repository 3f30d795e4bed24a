"""Pictures of several callers go through the model together."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, Full, Queue
from threading import Thread
from time import monotonic
from typing import Any

from gcvit.data.members import FileInMemory
from gcvit.serve.limits import Limits
from gcvit.tasks.opened import Answer, Failure, Opened

Asked = tuple[FileInMemory, "Future[Answer | Failure]"]


class Busy(Exception):
    """As many pictures wait as may; ask again later."""


class Batcher:
    """Answers pictures on one thread, in the order in which they come, those that come close together at once.

    opened: the model. seen: called with the size of every batch. how: arguments of `Opened.answers`.
    """

    def __init__(self, opened: Opened, limits: Limits, seen: Callable[[int], object], how: dict[str, Any]) -> None:
        self.opened, self.limits, self.seen, self.how = opened, limits, seen, how
        self._asked: Queue[Asked | None] = Queue(limits.waiting)
        self._thread = Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def ask(self, picture: FileInMemory) -> "Future[Answer | Failure]":
        """The answer that is to come. Raises Busy."""
        future: Future[Answer | Failure] = Future()
        try:
            self._asked.put_nowait((picture, future))
        except Full:
            raise Busy from None
        return future

    @property
    def waiting(self) -> int:
        """How many pictures wait, about."""
        return self._asked.qsize()

    def close(self) -> None:
        """Answer what was asked, then end."""
        self._asked.put(None)
        self._thread.join()

    def _work(self) -> None:
        going = True
        while going:
            batch, going = self._batch()
            batch = [(picture, future) for picture, future in batch if future.set_running_or_notify_cancel()]
            if batch:
                self.seen(len(batch))
                self._answer(batch)

    def _batch(self) -> tuple[list[Asked], bool]:
        """Those that come soon after the first, and whether more may come after them."""
        batch: list[Asked] = []
        until = None
        while len(batch) < self.limits.at_once:
            try:
                asked = self._asked.get(timeout=None if until is None else max(until - monotonic(), 0))
            except Empty:
                break
            if asked is None:
                return batch, False
            batch.append(asked)
            until = until or monotonic() + self.limits.wait
        return batch, True

    def _answer(self, batch: Sequence[Asked]) -> None:
        open_ = [future for _, future in batch]
        try:
            for answer in self.opened.answers([p for p, _ in batch], batch_size=len(batch), **self.how):
                open_.pop(0).set_result(answer)
        except Exception as error:  # whoever waits has to be told; the next batch may go well
            for future in open_:
                future.set_exception(error)
