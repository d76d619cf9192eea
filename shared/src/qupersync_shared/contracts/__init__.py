"""The wire contract, version 1: envelope, payload, types, slots, subjects, commands, progress."""
