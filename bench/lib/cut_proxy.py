"""A network between a worker and its database that can be cut: a TCP port in front of a server's socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

CHUNK = 65536


class CutProxy:
    """Passes on what comes to 127.0.0.1:`port`. `cut` ends all connections and refuses further ones; `stall` passes nothing on."""

    def __init__(self, socket_path: Path) -> None:
        self._target = str(socket_path)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            self._refuses = True
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def stall(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        self._refuses = False
        self._flows.set()

    def close(self) -> None:
        self._listener.close()
        self.mend()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with connection, server, contextlib.suppress(OSError):
            if self._refuses:
                return
            server.connect(self._target)
            with self._lock:
                self._open |= {connection, server}
            back = threading.Thread(target=self._pass_on, args=(server, connection), daemon=True)
            back.start()
            self._pass_on(connection, server)
            back.join()
        with self._lock:
            self._open -= {connection, server}

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self._flows.wait()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
