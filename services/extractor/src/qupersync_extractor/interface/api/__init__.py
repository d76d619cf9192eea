"""The control API: what `qupersync` does on a terminal, over HTTP."""
