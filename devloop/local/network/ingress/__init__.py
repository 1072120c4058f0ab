"""Ingress: HTTP from one port of this machine to the Services that hosts and paths lead to."""
