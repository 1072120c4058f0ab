"""A small Kubernetes inside devloop, whose node is the Docker Engine: for development without a cluster."""
