"""A `Kube` of a server that says what a real API server says only once in a while."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from devloop.clients.kube import Kube


@contextmanager
def kube_of(handler: type[BaseHTTPRequestHandler], directory: Path) -> Iterator[Kube]:
    """Its requests are answered by `handler`; the kubeconfig is in `directory`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(json.dumps({
            "current-context": "it", "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{http.server_port}"}}],
            "users": [{"name": "it", "user": {}}]}))
        kube = Kube(kubeconfig=str(kubeconfig))
        try:
            yield kube
        finally:
            kube.close()
            http.shutdown()
            thread.join()
