"""The model registry: a directory of versioned artifacts, none of them opened before its digest was checked."""
