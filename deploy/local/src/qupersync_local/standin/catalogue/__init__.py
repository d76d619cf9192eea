"""The SQL that makes a PostgreSQL database look like Redshift to those who read its catalogue."""

from enum import StrEnum
from importlib.resources import files

import asyncpg

from qupersync_local.standin.wire import GEOGRAPHY, GEOMETRY, SUPER, VARBYTE


class Profile(StrEnum):
    """Which Redshift is played: on Serverless nobody may read STL and STV views."""

    PROVISIONED = "provisioned"
    SERVERLESS = "serverless"


# Views that a role needs a grant for (AWS: Visibility of data in system tables and views).
GRANTED_VIEWS = ("svv_table_info", "sys_connection_log")
GRANTED_VIEWS_OF = {
    Profile.PROVISIONED: ("stl_vacuum", "stv_node_storage_capacity", "stv_partitions"),
    Profile.SERVERLESS: ("sys_serverless_usage",),
}


async def make_catalogue(connection: asyncpg.Connection, profile: Profile) -> None:
    """Make types, functions and system views in the database of `connection`, once, as superuser."""
    for name in ("types_and_functions", "views", "system_tables", "stl_and_stv", profile.value):
        await connection.execute((files(__package__) / f"{name}.sql").read_text("utf-8"))


async def redshift_types(connection: asyncpg.Connection) -> dict[int, int]:
    """Which OIDs that PostgreSQL gave become which of Redshift's."""
    known = {"super": SUPER, "varbyte": VARBYTE, "geometry": GEOMETRY, "geography": GEOGRAPHY}
    rows = await connection.fetch("SELECT typname, oid::int AS oid FROM pg_type WHERE typname = ANY ($1)", list(known))
    return {row["oid"]: known[row["typname"]] for row in rows}


def grants(role: str, profile: Profile) -> str:
    """The statements by which an administrator lets `role` (a quoted name) read the system views."""
    listed = ", ".join(f"pg_catalog.{view}" for view in GRANTED_VIEWS + GRANTED_VIEWS_OF[profile])
    return f"GRANT SELECT ON {listed} TO {role}; GRANT syslog_access_unrestricted TO {role};"
