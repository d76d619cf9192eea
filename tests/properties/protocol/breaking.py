"""Breaking one rule of the project on purpose, wherever it is used."""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

Break = Callable[[ExitStack], None]


def function(original: Any, broken: Callable[..., Any]) -> Break:
    """In every module of the project that has this function by its name, `broken(original, …)` is called instead."""

    def instead(*args: Any, **kwargs: Any) -> Any:
        return broken(original, *args, **kwargs)

    def apply(patches: ExitStack) -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("qupersync_") and getattr(module, original.__name__, None) is original:
                patches.enter_context(patch.object(module, original.__name__, instead))

    return apply


def method(owner: type, name: str, broken: Callable[..., Any]) -> Break:
    """`broken(original, self, …)` is called instead of the method."""
    original = getattr(owner, name)

    def instead(*args: Any, **kwargs: Any) -> Any:
        return broken(original, *args, **kwargs)

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await broken(original, *args, **kwargs)

    kind = awaited if inspect.iscoroutinefunction(original) else instead
    return lambda patches: patches.enter_context(patch.object(owner, name, kind))


def both(one: Break, other: Break) -> Break:
    """Two rules that stand for each other, broken together."""

    def apply(patches: ExitStack) -> None:
        one(patches)
        other(patches)

    return apply


@contextmanager
def broken_rule(apply: Break) -> Iterator[None]:
    with ExitStack() as patches:
        apply(patches)
        yield
