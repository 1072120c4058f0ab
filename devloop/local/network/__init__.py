"""The network of a local target: pods, Services and Ingress without a cluster."""
