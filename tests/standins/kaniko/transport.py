"""HTTP with what the environment says of proxies and certificates, and with errors told in Go's words."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit


class TransportError(Exception):
    """No answer, or none that HTTP knows."""


@dataclass
class Tls:
    """How a registry's certificate is looked at."""

    verify: bool = True
    certificate: str = ""


@dataclass
class Reply:
    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes = field(repr=False)


def environ(name: str) -> str:
    return os.environ.get(name.upper()) or os.environ.get(name.lower()) or ""


def proxy(scheme: str, netloc: str) -> str:
    """The proxy's host and port for this address; empty: none."""
    found = environ(f"{scheme}_proxy")
    host, _, port = netloc.partition(":")
    if not found or host == "localhost" or host.startswith("127."):
        return ""
    for pattern in filter(None, (item.strip() for item in environ("no_proxy").split(","))):
        wanted, _, only = pattern.partition(":")
        domain = wanted.lstrip(".")
        if pattern == "*" or _within(host, pattern) or (only in ("", port) and (host == domain or host.endswith(f".{domain}"))):
            return ""
    return urlsplit(found if "://" in found else f"http://{found}").netloc


def _within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network)
    except ValueError:
        return False


def send(method: str, url: str, *, headers: Mapping[str, str], body: bytes | IO[bytes] | None = None, tls: Tls,
         save: Path | None = None) -> Reply:
    """`save`: the body of a good reply goes to this file, and is empty in the reply."""
    where = urlsplit(url)
    via = proxy(where.scheme, where.netloc)
    connection = _connection(where.scheme, where.netloc, via, tls)
    path = (where.path or "/") + (f"?{where.query}" if where.query else "")
    try:
        connection.request(method, url if via and where.scheme == "http" else path, body, dict(headers))
        answer = connection.getresponse()
        if save and answer.status == http.HTTPStatus.OK:
            part = save.with_suffix(".part")
            with part.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
            part.rename(save)                       # never half of it, whenever this ends
            return Reply(answer.status, answer.reason, answer.headers, b"")
        return Reply(answer.status, answer.reason, answer.headers, answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise TransportError(f'{method.title()} "{url}": {_reason(error, via or where.netloc, via, where.scheme)}') from error
    finally:
        connection.close()


def _connection(scheme: str, netloc: str, via: str, tls: Tls) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(via or netloc, timeout=60)
    connection = http.client.HTTPSConnection(via or netloc, timeout=60, context=_context(tls))
    if via:
        connection.set_tunnel(netloc)
    return connection


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    directories = (os.environ.get("SSL_CERT_DIR") or "/etc/ssl/certs").split(":")
    files = [file for directory in directories for file in Path(directory).glob("*")] if any(directories) else []
    for file in [*files, *(Path(given) for given in (os.environ.get("SSL_CERT_FILE", ""), tls.certificate) if given)]:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError):
            continue                                # as Go does: what is no certificate is none
    return context


def _reason(error: Exception, address: str, via: str, scheme: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        names = re.search(r"IP address mismatch|Hostname mismatch", str(error))
        told = f"certificate is not valid for {address.partition(':')[0]}" if names else "certificate signed by unknown authority"
        return f"tls: failed to verify certificate: x509: {told}"
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION" in str(error):
        return "http: server gave HTTP response to HTTPS client"
    if isinstance(error, http.client.RemoteDisconnected | ssl.SSLEOFError):
        return "EOF"
    host, _, port = address.partition(":")
    at = f"{host}:{port or (443 if scheme == 'https' else 80)}"
    prefix = "proxyconnect tcp: " if via else ""
    if isinstance(error, socket.gaierror):
        return f"{prefix}dial tcp: lookup {host} on {_nameserver()}:53: no such host"
    if isinstance(error, TimeoutError):
        return f"{prefix}dial tcp {at}: i/o timeout"
    if isinstance(error, OSError) and error.strerror:
        return f"{prefix}dial tcp {at}: connect: {error.strerror.lower()}"
    return str(error)


def _nameserver() -> str:
    try:
        found = re.search(r"^nameserver\s+(\S+)", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else "127.0.0.1"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
