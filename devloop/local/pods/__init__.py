"""The kubelet of the local target: pods of the store become containers of the Docker Engine, and what happens to them their status."""
