"""The status page: what the status document says, rendered on the server, live, and without any other server."""

from qupersync_extractor.interface.page import acting, logging_in, parked_routes, routes

ROUTERS = (logging_in.router, routes.router, parked_routes.router, acting.router)
"""What the application serves besides its API; fixed paths come before those that begin with a name."""

__all__ = ["ROUTERS"]
