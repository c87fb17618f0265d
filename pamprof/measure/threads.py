"""Doing in a step's worker threads what is done in its own: dispatch modes and profilers belong to one thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

# How pools of threads are given work; ``ThreadPool`` maps through the private one.
_HAND_OVER: dict[type, tuple[str, ...]] = {
    ThreadPoolExecutor: ("submit",),
    ThreadPool: ("apply_async", "_map_async", "imap", "imap_unordered"),
}


@contextmanager
def in_every_thread(make: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Enter ``make()`` here, in every thread that starts meanwhile, and for every task handed to a pool of threads.

    A thread that was started before and gets its work in another way goes without; one that outlives the context keeps
    what it entered until it ends.
    """
    here = threading.local()

    def inside(function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **keywords: object) -> object:
            if getattr(here, "entered", False):
                return function(*args, **keywords)
            here.entered = True
            try:
                with make():
                    return function(*args, **keywords)
            finally:
                here.entered = False

        return run

    def start_inside(thread: threading.Thread) -> None:
        if not getattr(here, "submitting", False):  # a pool's thread outlives the context; its tasks do not
            thread.__dict__["run"] = inside(thread.run)
        start(thread)

    def handed_over(method: Callable[..., object]) -> Callable[..., object]:
        def hand_over(pool: object, function: Callable[..., object], /, *args: object, **keywords: object) -> object:
            here.submitting = True
            try:
                return method(pool, inside(function), *args, **keywords)
            finally:
                here.submitting = False

        return hand_over

    start = threading.Thread.start
    originals = [(owner, name, getattr(owner, name)) for owner, names in _HAND_OVER.items() for name in names]
    setattr(threading.Thread, "start", start_inside)  # noqa: B010  # its type is not to be changed
    for owner, name, method in originals:
        setattr(owner, name, handed_over(method))
    try:
        with make():
            here.entered = True  # for a task that is run at once
            yield
    finally:
        setattr(threading.Thread, "start", start)  # noqa: B010
        for owner, name, method in originals:
            setattr(owner, name, method)
