"""Work in a thread of its own, so that the kernel can answer a view while it runs: a Stop button is no use if its
message waits behind the cell that trains."""

import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

PAUSE = 0.05  # seconds between two looks, while a cell waits


class Background:
    """Reads `items` in a thread and hands each to `take`; `done` is called when it has ended, however it ended.

    stopped: whether it was asked to stop before the end. error: what it raised, if it did; `wait` raises it again.
    """

    def __init__(self, items: Iterable[Any], take: Callable[[Any], None], done: Callable[[], None]):
        self._items, self._take, self._done = items, take, done
        self._stop = threading.Event()
        self._ended = self.stopped = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return not self._ended

    @property
    def stopping(self) -> bool:
        return self.running and self._stop.is_set()

    def stop(self) -> None:
        """Ask it to end after the item at hand."""
        self._stop.set()

    def wait(self) -> None:
        """Until it has ended. An interrupt of the kernel stops the work and no more; what the work raised is raised
        here."""
        try:
            while self._thread.is_alive():
                self._thread.join(PAUSE)
                answer_views()
        except KeyboardInterrupt:
            self.stop()
            self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            items = iter(self._items)
            try:
                for item in items:
                    self._take(item)
                    if self._stop.is_set():
                        self.stopped = True
                        break
            finally:
                if hasattr(items, "close"):
                    items.close()  # a generator puts back what it has changed
        except BaseException as error:
            self.error = error
        self._ended = True
        self._done()


def answer_beside(comm: Any) -> None:
    """Let the thread answer that the page asks for: JupyterLab opens one for views (a subshell, from ipykernel 7 on).
    ipykernel 7.4 would hand a view's messages to the thread that last wrote to the page, which may be waiting."""
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, asked: asked


def answer_views() -> None:
    """Let a view's messages through while a cell waits: up to ipykernel 6 (Colab), which has no subshells, they stand
    in line behind the cell. They are taken out of the line here; the cells that wait in it keep their order."""
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython and ipython.get_ipython(), "kernel", None)
    queue = getattr(kernel, "msg_queue", None)
    if queue is None or threading.current_thread() is not threading.main_thread():
        return
    kernel.shell_stream.flush()
    later = []
    with suppress(Exception):  # an empty queue, of whichever library, ends it
        while True:
            later.append(queue.get_nowait())
            if _answered(kernel, later[-1][-1]):
                later.pop()
    for item in later:
        queue.put_nowait(item)


def _answered(kernel, arguments: tuple) -> bool:
    """Whether it was a view's message; then it has been answered."""
    identities, frames = kernel.session.feed_identities(arguments[0], copy=False)
    if kernel.session.unpack(frames[1].bytes)["msg_type"] != "comm_msg":
        return False
    message = kernel.session.deserialize(frames, content=True, copy=False)
    kernel._publish_status("busy", "shell", parent=message)
    kernel.comm_manager.comm_msg(kernel.shell_stream, identities, message)
    kernel._publish_status("idle", "shell", parent=message)  # the page sends no second message before it
    return True
