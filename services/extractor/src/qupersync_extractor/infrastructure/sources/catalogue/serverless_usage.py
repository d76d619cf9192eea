"""What a Serverless workgroup used."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from qupersync_extractor.infrastructure.sources.catalogue.recipe import NotApplicable, Statements
from qupersync_extractor.infrastructure.sources.catalogue.statements import SYS_SERVERLESS_USAGE, first_of
from qupersync_extractor.infrastructure.sources.catalogue.views import SystemViews

_USAGE: Final = first_of("serverless_usage", SYS_SERVERLESS_USAGE, "serverless_usage.sql")
_PROVISIONED: Final = NotApplicable("this cluster is provisioned, and sys_serverless_usage tells of Serverless alone")


class ServerlessUsageRecipe:
    """From sys_serverless_usage alone."""

    name = "serverless_usage"

    async def statements(self, views: SystemViews) -> Statements | NotApplicable:
        if await views.has_nodes() or not await views.has(_USAGE):
            return _PROVISIONED
        return Statements(first=_USAGE)

    async def complete(self, page: pa.RecordBatch, views: SystemViews) -> Mapping[str, pa.Array]:  # noqa: ARG002
        return {}
