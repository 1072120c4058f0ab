"""Ports of this machine that lead into the cluster, whatever happens to the pods behind them."""

from devloop.forward.forwarder import Forwarder

__all__ = ["Forwarder"]
