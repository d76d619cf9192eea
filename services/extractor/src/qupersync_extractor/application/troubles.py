"""What keeps pipelines from working, as this process sees it: for heartbeats, logs and `qupersync status`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.logs import describe

PROCESS = ""


def reason_of(error: Exception) -> str:
    """What to show of an error; one that is not of the tree is a defect, and says so."""
    if isinstance(error, QupersyncError):
        return str(error)
    return f"a defect, or something unforeseen (the log has its traceback): {describe(error)}"


@dataclass(slots=True)
class Troubles:
    """Reasons by pipeline and part; the empty pipeline is the process itself. Notices keep nothing from working."""

    _reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    _notices: dict[str, list[str]] = field(default_factory=dict)
    _remarks: dict[tuple[str, str], str] = field(default_factory=dict)

    def set(self, pipeline: str, part: str, reason: str) -> bool:
        """Records the reason; whether it is news."""
        if self._reasons.get((pipeline, part)) == reason:
            return False
        self._reasons[pipeline, part] = reason
        return True

    def clear(self, pipeline: str, part: str) -> bool:
        """Forgets the reason; whether there was one."""
        return self._reasons.pop((pipeline, part), None) is not None

    def forget(self, pipeline: str) -> None:
        """The pipeline is not this process's any more: whatever was said of it is over."""
        for key in [key for key in self._reasons if key[0] == pipeline]:
            del self._reasons[key]
        for key in [key for key in self._remarks if key[0] == pipeline]:
            del self._remarks[key]
        self._notices.pop(pipeline, None)

    def note(self, pipeline: str, notices: Sequence[str]) -> None:
        """What a person should know of the pipeline, in the place of what was noted before."""
        self._notices.pop(pipeline, None)
        if notices:
            self._notices[pipeline] = list(notices)

    def remark(self, pipeline: str, part: str, text: str | None) -> bool:
        """A notice that comes and goes by itself, in the place of this part's last one; whether it is news."""
        if self._remarks.get((pipeline, part)) == text:
            return False
        if text is None:
            del self._remarks[pipeline, part]
        else:
            self._remarks[pipeline, part] = text
        return True

    def notices(self) -> dict[str, list[str]]:
        """The notices of each pipeline that has some."""
        found = {pipeline: list(noted) for pipeline, noted in self._notices.items()}
        for (pipeline, _), text in sorted(self._remarks.items()):
            found.setdefault(pipeline, []).append(text)
        return found

    def by_pipeline(self) -> dict[str, str]:
        """One text per pipeline that has a reason."""
        texts: dict[str, list[str]] = {}
        for (pipeline, _), reason in sorted(self._reasons.items()):
            texts.setdefault(pipeline, [])
            if reason not in texts[pipeline]:
                texts[pipeline].append(reason)
        return {pipeline: "; ".join(reasons) for pipeline, reasons in texts.items()}
