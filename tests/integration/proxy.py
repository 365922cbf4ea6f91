"""A TCP proxy before a broker that can turn bad: refuse connections, swallow what is sent, or be slow.

In: the port of a broker that tells its clients the proxy's port. Out: faults, and a count of the connections taken.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

Mode = Literal["open", "refusing", "swallowing", "slow"]
SLOW_S = 0.1  # each chunk, one way


class Proxy:
    """Forwards to `port`. What was under way when it turned bad is cut when it turns good again."""

    def __init__(self, port: int, own_port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._own = ("127.0.0.1", own_port)
        self._mode: Mode = "open"
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.connections = 0
        self._listen()

    @property
    def address(self) -> str:
        return f"{self._own[0]}:{self._own[1]}"

    def turn(self, mode: Mode) -> None:
        """From now on; connections made before are cut unless they stay as they are."""
        before, self._mode = self._mode, mode
        if mode == "refusing":
            self._stop_listening()
        elif before == "refusing":
            self._listen()
        if mode in ("refusing", "open") and before != "slow":
            self._cut()

    def close(self) -> None:
        self._closed.set()
        self._stop_listening()
        self._cut()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self._own)
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _cut(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(self._target, 5)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65_536):
                if self._mode == "swallowing":
                    continue
                if self._mode == "slow":
                    self._closed.wait(SLOW_S)
                other.sendall(data)
        except OSError:
            pass
        for each in (one, other):
            with self._lock:
                self._sockets.discard(each)
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
