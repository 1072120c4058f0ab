"""The stand-in for Kaniko's executor, see `executor`. It runs in its image on Python's standard library alone."""
