"""What the loader does, over ports: applies events, asks for what is missing, serves lanes in fair turns."""
