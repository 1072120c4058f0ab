"""Which files belong to an artifact: what its Dockerfile can see, minus what is ignored, as a digest and as a tar."""

from devloop.context.analyse import analyse, watch_roots
from devloop.context.buildcontext import BuildContext
from devloop.context.cache import DigestCache, cache_directory
from devloop.context.differs import differs
from devloop.context.model import ContextChanged, ContextFile, Instruction

__all__ = ["BuildContext", "ContextChanged", "ContextFile", "DigestCache", "Instruction", "analyse", "cache_directory", "differs",
           "watch_roots"]
