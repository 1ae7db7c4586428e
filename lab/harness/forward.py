"""A line to a server that can be cut: connections stay open, but nothing comes through."""

from __future__ import annotations

import socket
import threading
import urllib.parse


class Forward:
    """Listens on a port of its own and passes everything on to the server of a URL, until it is cut. What is sent while
    it is cut never arrives: mending it closes the connections on which something was lost."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._cut = False
        self._lock = threading.Lock()
        self._lost: list[socket.socket] = []
        port = self._listener.getsockname()[1]
        self.url = parts._replace(netloc=f"127.0.0.1:{port}").geturl()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self.mend()

    def cut(self) -> None:
        with self._lock:
            self._cut = True

    def mend(self) -> None:
        with self._lock:
            self._cut = False
            lost, self._lost = self._lost, []
        for connection in lost:
            _end(connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return  # closed
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while True:
                data = source.recv(65536)
                with self._lock:
                    if self._cut and data:
                        self._lost.extend((source, sink))
                        continue
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        _end(source)
        _end(sink)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
