"""Doing in a step's worker threads what is done in its own: dispatch modes and profilers belong to one thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@contextmanager
def in_every_thread(make: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Enter ``make()`` here, in every thread that starts meanwhile and for every task of a ``ThreadPoolExecutor``.

    A thread that was started before and gets its work in another way goes without.
    """
    submitting = threading.local()
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    def inside(function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **keywords: object) -> object:
            with make():
                return function(*args, **keywords)

        return run

    def start_inside(thread: threading.Thread) -> None:
        if not getattr(submitting, "now", False):  # a pool's thread outlives the context; its tasks do not
            thread.__dict__["run"] = inside(thread.run)
        start(thread)

    def submit_inside(
        pool: ThreadPoolExecutor, function: Callable[..., object], /, *args: object, **keywords: object
    ) -> object:
        submitting.now = True
        try:
            return submit(pool, inside(function), *args, **keywords)
        finally:
            submitting.now = False

    patches: tuple[tuple[type, str, object, object], ...] = (
        (threading.Thread, "start", start, start_inside),
        (ThreadPoolExecutor, "submit", submit, submit_inside),
    )
    for owner, name, _, patched in patches:
        setattr(owner, name, patched)
    try:
        with make():
            yield
    finally:
        for owner, name, original, _ in patches:
            setattr(owner, name, original)
