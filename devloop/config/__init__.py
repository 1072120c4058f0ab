"""devloop.yaml: its models, and reading it so that every error names its place."""

from devloop.config.load import Loaded, load
from devloop.config.models import Config

__all__ = ["Config", "Loaded", "load"]
