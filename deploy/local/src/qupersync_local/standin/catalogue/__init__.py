"""The SQL that makes a PostgreSQL database look like Redshift to those who read its catalogue."""

from enum import StrEnum
from importlib.resources import files

import asyncpg

from qupersync_local.standin.wire import SUPER, VARBYTE


class Profile(StrEnum):
    """Which Redshift is played: Serverless has no STL and STV views."""

    PROVISIONED = "provisioned"
    SERVERLESS = "serverless"


# Views that a role needs a grant for (AWS: Visibility of data in system tables and views).
GRANTED_VIEWS = ("svv_table_info", "sys_connection_log")
GRANTED_VIEWS_PROVISIONED = ("stl_vacuum", "stv_node_storage_capacity", "stv_partitions")


async def make_catalogue(connection: asyncpg.Connection, profile: Profile) -> None:
    """Make types, functions and system views in the database of `connection`, once, as superuser."""
    for name in ("types_and_functions", "views", "system_tables", profile.value):
        await connection.execute((files(__package__) / f"{name}.sql").read_text("utf-8"))


async def redshift_types(connection: asyncpg.Connection) -> dict[int, int]:
    """Which OIDs that PostgreSQL gave become which of Redshift's."""
    rows = await connection.fetch("SELECT typname, oid::int AS oid FROM pg_type WHERE typname IN ('super', 'varbyte')")
    return {row["oid"]: SUPER if row["typname"] == "super" else VARBYTE for row in rows}


def grants(role: str, profile: Profile) -> str:
    """The statements by which an administrator lets `role` (a quoted name) read the system views."""
    views = GRANTED_VIEWS + (GRANTED_VIEWS_PROVISIONED if profile is Profile.PROVISIONED else ())
    listed = ", ".join(f"pg_catalog.{view}" for view in views)
    return f"GRANT SELECT ON {listed} TO {role}; GRANT syslog_access_unrestricted TO {role};"
