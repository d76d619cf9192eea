"""Every fault of the catalogue, injected for real; afterwards target and source are compared row by row."""
