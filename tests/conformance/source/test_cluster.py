"""The plumbing for a real cluster, with the stand-in in its place."""

from urllib.parse import quote, urlsplit

import asyncpg
import pytest
from tests.conformance.source.cluster import Cluster, ClusterHarness, opened, options_of
from tests.conformance.source.reading import by_key, column

from qupersync_local.standin import RedshiftStandin
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.schema import RowSchema

COLUMNS = (
    column("id", "integer"),
    column("said", "varchar"),
    column("tags", "super"),
    column("raw", "varbyte"),
    column("code", "char"),
    column("at", "timetz"),
)
ROW = {"id": 1, "said": "it's \\ '?' %s é", "tags": '{"a": [1, null]}', "raw": b"\x00\xff", "code": "a", "at": None}


@pytest.fixture
def standin(local_stack: ThreadedStack) -> RedshiftStandin:
    return local_stack.stack.source


def _dsn(standin: RedshiftStandin) -> str:
    owner = urlsplit(standin.owner_dsn)
    return (
        f"redshift://{owner.username}:{quote(owner.password or '', safe='')}@{standin.host}:{standin.port}"
        f"/{standin.database}?sslmode=disable"
    )


async def _schemas(standin: RedshiftStandin, cluster: Cluster) -> int:
    connection = await asyncpg.connect(standin.admin_dsn)
    try:
        found = await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", cluster.schema)
        return int(found)
    finally:
        await connection.close()


@pytest.mark.integration
async def test_the_scratch_schema_is_filled_read_and_dropped(standin: RedshiftStandin) -> None:
    with opened(_dsn(standin)) as cluster:
        assert not cluster.is_redshift
        harness = ClusterHarness(cluster, [one.type.name for one in COLUMNS])
        try:
            relation = await harness.create(COLUMNS, [ROW])
            assert relation.schema == cluster.schema
            schema = RowSchema(columns=COLUMNS, key=("id",))
            assert await harness.source.describe(relation) == COLUMNS
            assert await by_key(harness.source, relation, schema, 10) == [ROW]
        finally:
            await harness.source.close()
        assert await _schemas(standin, cluster) == 1
    assert await _schemas(standin, cluster) == 0


@pytest.mark.integration
async def test_the_scratch_schema_is_dropped_after_an_error_too(standin: RedshiftStandin) -> None:
    with pytest.raises(RuntimeError, match="in the middle"), opened(_dsn(standin)) as cluster:
        raise RuntimeError("in the middle")
    assert await _schemas(standin, cluster) == 0


@pytest.mark.integration
def test_the_real_cluster_is_reached(cluster: Cluster) -> None:
    """The one test that is skipped, with the reason, where the suite runs without a real cluster."""
    cursor = cluster.connection.cursor()
    cursor.execute("SELECT current_schema()")
    assert cursor.fetchone() is not None


def test_a_dsn_is_read_as_a_whole() -> None:
    options = options_of("redshift://sync%40x:p%2Fw@cluster.example.com/dev")
    assert (options.host, options.port, options.database) == ("cluster.example.com", 5439, "dev")
    assert (options.user, options.password, options.sslmode) == ("sync@x", "p/w", "verify-full")


@pytest.mark.parametrize(
    "dsn",
    ["mysql://u:hidden@h/d", "redshift://h/d", "redshift://u:hidden@h", "redshift://u:hidden@h/d?sslmode=prefer"],
)
def test_a_wrong_dsn_is_refused_without_its_password(dsn: str) -> None:
    with pytest.raises(ValueError, match="QUPERSYNC_TEST_REDSHIFT_DSN") as refused:
        options_of(dsn)
    assert "hidden" not in str(refused.value)


def test_a_cluster_keeps_what_its_types_can_hold() -> None:
    harness = ClusterHarness.__new__(ClusterHarness)
    assert harness.kept("char", "dé") == "d?"
    assert harness.kept("timetz", "12:34:56.789+02") == "12:34:56.789+00"
    assert harness.kept("varchar", "dé") == "dé"
    assert harness.kept("char", None) is None
