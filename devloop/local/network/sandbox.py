"""What a pod's sandbox is made from: names, resolver and published ports as the pod's spec has them. Nothing is made here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from devloop.local.network.gate import PORT
from devloop.model import Object
from devloop.pods import containers

ZONE = "cluster.local"
LOCAL = "127.0.0.1"

Binding = dict[str, str]


def relay(image: str, network: str, token: bytes, labels: Mapping[str, str]) -> Object:
    """The Engine's configuration for a container that runs the relay and nothing else."""
    return {
        "Image": image, "Env": [f"RELAY_TOKEN={token.hex()}", f"RELAY_PORT={PORT}"], "Labels": dict(labels), "StopSignal": "SIGTERM",
        "HostConfig": {"NetworkMode": network, "CapDrop": ["ALL"], "CapAdd": ["NET_BIND_SERVICE"], "SecurityOpt": ["no-new-privileges"],
                       "LogConfig": {"Type": "none"}}}


def published(config: Object, bindings: Mapping[str, Sequence[Binding]]) -> Object:
    """The same, with these ports (``80/tcp``) published."""
    return {**config, "ExposedPorts": {port: {} for port in bindings},
            "HostConfig": {**config["HostConfig"], "PortBindings": {port: list(bound) for port, bound in bindings.items()}}}


def configure(pod: Object, config: Object, *, dns: str) -> Object:
    """The relay's configuration as this pod's sandbox. `dns`: the hub's address."""
    spec = pod["spec"]
    security = spec.get("securityContext") or {}
    host = {**config["HostConfig"], **resolver(pod, dns), "IpcMode": "shareable",
            "Sysctls": {each["name"]: each["value"] for each in security.get("sysctls") or ()},
            "ExtraHosts": [f"{name}:{alias['ip']}" for alias in spec.get("hostAliases") or () for name in alias.get("hostnames") or ()]}
    named = {"Hostname": hostname(pod)} | ({"Domainname": domain(pod)} if domain(pod) else {})
    return published({**config, **named, "HostConfig": host}, host_ports(pod))


def hostname(pod: Object) -> str:
    """What the pod's programs take for their host's name: 63 characters at most, as the kernel has room for."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def domain(pod: Object) -> str:
    """What follows it in the pod's full name, where it has one."""
    subdomain = pod["spec"].get("subdomain")
    return f"{subdomain}.{pod['metadata']['namespace']}.svc.{ZONE}" if subdomain else ""


def resolver(pod: Object, dns: str) -> Object:
    """``Dns``, ``DnsSearch`` and ``DnsOptions`` as the pod's dnsPolicy and dnsConfig have them."""
    spec = pod["spec"]
    extra = spec.get("dnsConfig") or {}
    servers, search, options = list(extra.get("nameservers") or ()), list(extra.get("searches") or ()), _options(extra.get("options") or ())
    if spec.get("dnsPolicy", "ClusterFirst") in ("ClusterFirst", "ClusterFirstWithHostNet"):
        servers = [dns, *servers]
        search = [f"{pod['metadata']['namespace']}.svc.{ZONE}", f"svc.{ZONE}", ZONE, *search]
        options = {"ndots": "5"} | options
    return {"Dns": servers, "DnsSearch": search, "DnsOptions": [f"{name}:{value}" if value else name for name, value in options.items()]}


def _options(given: Iterable[Object]) -> dict[str, str]:
    return {option["name"]: str(option.get("value") or "") for option in given}


def host_ports(pod: Object) -> dict[str, list[Binding]]:
    """The ports that the pod's containers publish; on this machine only, where they do not name an address."""
    return {f"{port['containerPort']}/{port.get('protocol', 'TCP').lower()}":
            [{"HostIp": port.get("hostIP") or LOCAL, "HostPort": str(port["hostPort"])}] for port in _ports(pod) if port.get("hostPort")}


def _ports(pod: Object) -> Iterator[Object]:
    return (port for container in containers(pod) for port in container.spec.get("ports") or ())
