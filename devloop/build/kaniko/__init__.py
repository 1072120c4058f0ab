"""Builds in pods of the cluster, by Kaniko."""
