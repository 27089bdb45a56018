"""Keeps a command on a leash: it and all that it starts end as soon as whoever holds the other end is gone.

The holder starts ``python -m console.leash GRACE COMMAND...`` with a pipe as standard input. When the pipe is
closed, by the holder or by the kernel because the holder was killed, the command's process group is asked to
end and, after GRACE seconds, killed. A command that ends by itself takes what it left behind with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

__all__ = ["main"]

_POLL_S = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status, or 128 and the number of the signal that ended it."""
    grace, *command = sys.argv[1:] if arguments is None else arguments
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Only who holds the leash ends the command. It would inherit that a signal is ignored, no handler.
        signal.signal(each, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)  # noqa: S603
    let_go = threading.Event()
    threading.Thread(target=_until_let_go, args=(let_go,), daemon=True).start()
    while child.poll() is None and not let_go.is_set():
        time.sleep(_POLL_S)
    status = child.poll()
    _end(child, float(grace))
    status = child.returncode if status is None else status
    return 128 - status if status < 0 else status


def _until_let_go(let_go: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    let_go.set()


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    """End the whole group, kindly first."""
    deadline = time.monotonic() + grace
    _signal(child.pid, signal.SIGTERM)
    while time.monotonic() < deadline and _alive(child):
        time.sleep(_POLL_S)
    _signal(child.pid, signal.SIGKILL)
    child.wait()


def _alive(child: subprocess.Popen[bytes]) -> bool:
    return child.poll() is None or _signal(child.pid, 0)


def _signal(group: int, number: int) -> bool:
    """Send to every member of a group; tell whether there was one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
