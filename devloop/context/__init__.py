"""Which files belong to an artifact: what its Dockerfile can see, minus what is ignored, as a digest and as a tar."""

from devloop.context.analyse import analyse, watch_roots
from devloop.context.cache import DigestCache
from devloop.context.model import BuildContext, ContextChanged, ContextFile, Instruction

__all__ = ["BuildContext", "ContextChanged", "ContextFile", "DigestCache", "Instruction", "analyse", "watch_roots"]
