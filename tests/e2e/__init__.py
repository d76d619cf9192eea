"""The services as processes of their own, over real servers."""
