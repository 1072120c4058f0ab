"""Tails: every line of every container, once, from the first to the last."""

from devloop.logs.tailer import LogTailer

__all__ = ["LogTailer"]
