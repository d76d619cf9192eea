"""A long run of whole processes over the local stack: sources change, everything is killed, nothing may differ."""
