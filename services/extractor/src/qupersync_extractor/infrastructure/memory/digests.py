"""Digests over tables in memory: the reference that engines are compared with."""

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.application.verifying.ports import Compared, KeyedDigest, SourceRange
from qupersync_extractor.infrastructure.memory.source import MemorySource
from qupersync_shared.contracts.row_digests import row_digests, sums_of
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.kernel.positions import Key

_ALL = 1 << 62


class MemoryDigests:
    """The port `SourceDigests` over a source in memory."""

    def __init__(self, source: MemorySource) -> None:
        self._source = source

    @property
    def bytes_moved(self) -> int:
        return 0

    async def opaque(self, compared: Compared) -> frozenset[str]:  # noqa: ARG002  # the port's signature
        return frozenset()

    async def stretch_end(self, compared: Compared, within: KeyRange, *, rows: int) -> Key | None:
        found = await self.rows(compared, within, limit=rows)
        return found[-1].key if len(found) == rows else None

    async def ranges(self, compared: Compared, within: KeyRange, *, keys: int) -> list[SourceRange]:
        found = await self.rows(compared, within, limit=_ALL)
        different = list(dict.fromkeys(row.key for row in found))
        parts = []
        for start in range(0, len(different), keys):
            part = different[start : start + keys]
            among = set(part)
            parts.append(SourceRange(last=part[-1], sums=sums_of([row.digest for row in found if row.key in among])))
        return parts

    async def rows(self, compared: Compared, within: KeyRange, *, limit: int) -> list[KeyedDigest]:
        request = ReadRequest(relation=compared.relation, schema=compared.schema, range=within, limit=limit)
        batch = await self._source.read(request)
        digests = row_digests(batch, compared.columns)
        return [
            KeyedDigest(key=key_at(batch, compared.schema, index), digest=digest)
            for index, digest in enumerate(digests)
        ]
