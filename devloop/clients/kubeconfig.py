"""Which cluster, and with which credentials: the kubeconfig, or the service account of our own pod."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from devloop.errors import UnreachableError


@dataclass(frozen=True)
class Entry:
    """One context of the kubeconfig; `cluster` and `context_entry` are its raw entries, extensions included. `current`: kubectl uses it
    without being told."""

    context: str
    namespace: str
    cluster: Mapping[str, Any]
    context_entry: Mapping[str, Any]
    in_cluster: bool = False
    current: bool = True


def load(context: str, kubeconfig: str) -> tuple[Any, Entry]:
    """The client's ``Configuration`` (server and credentials) of a context, the current one where it is empty.

    Raises `UnreachableError` where there is no such thing.
    """
    from kubernetes import config
    from kubernetes.client.configuration import Configuration

    configuration = Configuration()
    files = kubeconfig or os.environ.get("KUBECONFIG", "")
    present = [f for f in (files.split(os.pathsep) if files else [str(Path.home() / ".kube" / "config")]) if f and Path(f).exists()]
    service_account = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    if not present and not context and "KUBERNETES_SERVICE_HOST" in os.environ and (service_account / "token").exists():
        config.load_incluster_config(client_configuration=configuration)
        return configuration, Entry("in-cluster", (service_account / "namespace").read_text().strip(), {}, {}, in_cluster=True)
    if not present:
        raise UnreachableError(f"there is no kubeconfig: {files or '~/.kube/config'} does not exist",
                               hint="Start a local cluster (minikube start, kind create cluster), or point KUBECONFIG at a kubeconfig.")
    try:
        merger = config.kube_config.KubeConfigMerger(os.pathsep.join(present))
        entry = _entry(_plain(merger.config.value if merger.config else {}), context)
        loader = config.kube_config.KubeConfigLoader(merger.config, active_context=entry.context, config_persister=None)
        loader.load_and_set(configuration)
    except UnreachableError:
        raise
    except Exception as error:
        raise UnreachableError(f"the kubeconfig {os.pathsep.join(present)} cannot be used: {error}",
                               hint="'kubectl config view' shows it as kubectl reads it.") from error
    return configuration, entry


def _plain(value: Any) -> Any:
    """The merger wraps every entry in a ``ConfigNode`` that knows its file."""
    value = getattr(value, "value", value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _entry(raw: Mapping[str, Any], context: str) -> Entry:
    contexts = {c["name"]: c.get("context") or {} for c in raw.get("contexts") or ()}
    name = context or raw.get("current-context") or ""
    if name not in contexts:
        known = ", ".join(contexts) or "none"
        if not name:
            raise UnreachableError(f"the kubeconfig has no current context (contexts: {known})",
                                   hint="Choose one with --kube-context, or 'kubectl config use-context NAME'.")
        raise UnreachableError(f"the kubeconfig has no context '{name}' (contexts: {known})",
                               hint="Choose one of them with --kube-context.")
    chosen = contexts[name]
    cluster = next((c.get("cluster") or {} for c in raw.get("clusters") or () if c["name"] == chosen.get("cluster")), {})
    return Entry(name, chosen.get("namespace") or "default", cluster, chosen, current=name == raw.get("current-context"))


def tls(configuration: Any) -> ssl.SSLContext:
    """What the server must show and what we show it."""
    data = configuration.ca_cert_data
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None,
                                         cadata=data.decode() if isinstance(data, bytes) else data or None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT   # kubectl accepts CAs without key identifiers, and local clusters have them
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file or None)
    return context


def proxy_url(configuration: Any) -> str:
    """The proxy that leads to the server; empty where there is none."""
    from kubernetes.client.rest import should_bypass_proxies

    if not configuration.proxy or should_bypass_proxies(configuration.host, configuration.no_proxy or ""):
        return ""
    return cast(str, configuration.proxy)
