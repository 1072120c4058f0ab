"""The network of a local target: pods' sandboxes, Services, names and Ingress, without a cluster."""

from devloop.local.network.ingress.ingresses import Ingresses
from devloop.local.network.network import Network, Sandbox
from devloop.local.network.services import Services

__all__ = ["Ingresses", "Network", "Sandbox", "Services"]
