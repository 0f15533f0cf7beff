"""A process that was started for another ends with it, however that one ended."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Called in a process of `multiprocessing`: a parent that was killed could neither stop it nor read what it makes."""
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
