# `make check` in seconds, `make unit` fast, `make test` everything, `make demo` the example on a real cluster.
