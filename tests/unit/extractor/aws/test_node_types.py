"""The node type by `DescribeClusters`: where it is asked, how often, and that nothing it answers stops anybody."""

import asyncio
import threading
from typing import Any

import pytest
from botocore.session import Session
from botocore.stub import Stubber

from qupersync_extractor.application.node_types import NodeTypes
from qupersync_extractor.infrastructure.aws import node_types
from qupersync_extractor.infrastructure.aws.node_types import ASK_SECONDS, AwsNodeTypes, Cluster
from qupersync_extractor.infrastructure.memory.node_types import FixedNodeTypes

HOST = "prod-cluster.abc123xyz789.eu-central-1.redshift.amazonaws.com"
ASKED = {"ClusterIdentifier": "prod-cluster"}


class Aws:
    """A client whose answers are stubbed, and a clock."""

    def __init__(self) -> None:
        session = Session()
        session.set_credentials("id", "secret")
        self.client = session.create_client("redshift", region_name="eu-central-1")
        self.stub = Stubber(self.client)
        self.stub.activate()
        self.now = 1_000.0
        self.asked_for: list[Cluster] = []

    def types(self, host: str = HOST) -> AwsNodeTypes:
        def client(cluster: Cluster) -> Any:
            self.asked_for.append(cluster)
            return self.client

        return AwsNodeTypes(host, client=client, clock=lambda: self.now)

    def says(self, *clusters: dict[str, Any]) -> None:
        self.stub.add_response("describe_clusters", {"Clusters": list(clusters)}, ASKED)

    def refuses(self, code: str) -> None:
        self.stub.add_client_error("describe_clusters", code, expected_params=ASKED)


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.mark.parametrize(
    ("host", "cluster"),
    [
        (HOST, Cluster(identifier="prod-cluster", region="eu-central-1")),
        ("A1.b2.US-East-1.Redshift.amazonaws.com.", Cluster(identifier="a1", region="us-east-1")),
        ("dwh.c3.cn-north-1.redshift.amazonaws.com.cn", Cluster(identifier="dwh", region="cn-north-1")),
        ("work.123456789012.eu-central-1.redshift-serverless.amazonaws.com", None),
        ("warehouse.example.com", None),
        ("127.0.0.1", None),
        ("localhost", None),
        (f"{HOST}.example.com", None),
        ("a.b.c.d.redshift.amazonaws.com", None),
    ],
)
def test_identifier_and_region_come_from_the_host(host: str, cluster: Cluster | None) -> None:
    assert Cluster.of_host(host) == cluster


async def test_the_type_is_what_aws_says(aws: Aws) -> None:
    aws.says({"ClusterIdentifier": "prod-cluster", "NodeType": "ra3.4xlarge"})
    assert await aws.types().node_type() == "ra3.4xlarge"
    assert aws.asked_for == [Cluster(identifier="prod-cluster", region="eu-central-1")]


async def test_a_host_that_is_no_clusters_asks_nobody(aws: Aws) -> None:
    assert await aws.types("warehouse.example.com").node_type() is None
    assert aws.asked_for == []


async def test_it_asks_once_an_hour_however_many_want_to_know(aws: Aws) -> None:
    types = aws.types()
    aws.says({"NodeType": "dc2.large"})
    assert await asyncio.gather(*(types.node_type() for _ in range(20))) == ["dc2.large"] * 20
    aws.now += ASK_SECONDS - 1
    assert await types.node_type() == "dc2.large"
    assert len(aws.asked_for) == 1
    aws.now += 1
    aws.says({"NodeType": "ra3.xlplus"})
    assert await types.node_type() == "ra3.xlplus"
    aws.stub.assert_no_pending_responses()


@pytest.mark.parametrize("code", ["AccessDenied", "ClusterNotFound", "ExpiredToken"])
async def test_a_refusal_is_no_error_and_is_not_asked_again_at_once(aws: Aws, code: str) -> None:
    types = aws.types()
    aws.refuses(code)
    assert await types.node_type() is None
    assert await types.node_type() is None
    assert len(aws.asked_for) == 1


async def test_a_type_that_was_told_outlasts_refusals(aws: Aws) -> None:
    types = aws.types()
    aws.says({"NodeType": "ra3.4xlarge"})
    assert await types.node_type() == "ra3.4xlarge"
    aws.now += ASK_SECONDS
    aws.refuses("Throttling")
    assert await types.node_type() == "ra3.4xlarge"


async def test_answers_without_a_type_are_unknown(aws: Aws) -> None:
    types = aws.types()
    aws.says()
    assert await types.node_type() is None
    aws.now += ASK_SECONDS
    aws.says({"ClusterIdentifier": "prod-cluster"})
    assert await types.node_type() is None


async def test_without_credentials_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    assert await AwsNodeTypes(HOST).node_type() is None


async def test_the_real_client_is_for_the_clusters_region_and_gives_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    client = await asyncio.to_thread(node_types._client, Cluster(identifier="dwh", region="cn-north-1"))
    assert client.meta.region_name == "cn-north-1"
    assert client.meta.endpoint_url.endswith(".amazonaws.com.cn")
    assert client.meta.config.connect_timeout <= 5
    assert client.meta.config.read_timeout <= 5


async def test_other_coroutines_go_on_while_aws_is_asked() -> None:
    may_answer, going_on = threading.Event(), asyncio.Event()

    class Slow:
        def describe_clusters(self, **_: str) -> dict[str, Any]:
            assert may_answer.wait(60)
            return {"Clusters": [{"NodeType": "dc2.large"}]}

    types = AwsNodeTypes(HOST, client=lambda _: Slow())
    asked = asyncio.create_task(types.node_type())
    asyncio.get_running_loop().call_soon(going_on.set)
    await going_on.wait()
    assert not asked.done()
    may_answer.set()
    assert await asked == "dc2.large"


async def test_an_answer_that_does_not_come_is_not_waited_for_for_ever() -> None:
    may_answer = threading.Event()

    def stuck(_: Cluster) -> Any:
        assert may_answer.wait(60)

    try:
        assert await AwsNodeTypes(HOST, client=stuck, answer_seconds_max=0.01).node_type() is None
    finally:
        may_answer.set()


@pytest.mark.parametrize("told", [None, "ra3.4xlarge"])
async def test_the_twin_in_memory_says_what_it_was_told(told: str | None) -> None:
    types: NodeTypes = FixedNodeTypes(told)
    assert await types.node_type() == told
