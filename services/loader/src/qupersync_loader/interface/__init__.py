"""What the `qupersync` command gets from the loader."""
