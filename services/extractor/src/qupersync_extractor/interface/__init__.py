"""Commands of the extractor and its part of `qupersync`."""
