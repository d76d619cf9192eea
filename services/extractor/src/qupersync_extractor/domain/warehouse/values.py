"""The warehouse's value objects. They are texts and numbers that have been checked, and are used as such.

The vocabularies are open: a warehouse adds a plan or an industry without asking, and a customer whose plan is new is a
customer still. An unknown text is kept as it is, and `is_known` says so.
"""

import math
from decimal import Decimal, InvalidOperation
from typing import ClassVar, Final, Self

MONTHS: Final = 12


class _Word(str):
    """A text of an open vocabulary, kept as it is written; ValueError where it is blank or holds a NUL byte."""

    __slots__ = ()
    KNOWN: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, text: str) -> Self:
        if not text.strip() or "\0" in text:
            raise ValueError(f"{cls.__name__} is blank or holds a NUL byte: give a text such as {cls.KNOWN[0]!r}")
        return super().__new__(cls, text)

    @property
    def is_known(self) -> bool:
        """Whether it is one of `KNOWN`; neither case nor blanks around it count."""
        return self.strip().lower() in self.KNOWN


class Industry(_Word):
    """What a customer does."""

    __slots__ = ()
    KNOWN: ClassVar[tuple[str, ...]] = ("technology", "finance", "healthcare", "retail", "education", "manufacturing")


class PlanTier(_Word):
    """What a customer has subscribed to; the known ones stand in ascending order."""

    __slots__ = ()
    KNOWN: ClassVar[tuple[str, ...]] = ("free", "starter", "professional", "enterprise")

    @property
    def rank(self) -> int | None:
        """Its place among the known ones, from 0; None for another, which stands nowhere in their order."""
        word = self.strip().lower()
        return self.KNOWN.index(word) if word in self.KNOWN else None


class EventType(_Word):
    """What a customer did."""

    __slots__ = ()
    KNOWN: ClassVar[tuple[str, ...]] = ("login", "feature_used", "export", "api_call", "support_ticket")


class MRR(Decimal):
    """Monthly recurring revenue: exact, at least 0, in whatever currency the warehouse counts; ValueError otherwise.

    A float is refused: 0.1 is none of its values.
    """

    __slots__ = ()

    def __new__(cls, amount: Decimal | int | str) -> Self:
        if isinstance(amount, float | bool):
            raise ValueError("MRR is exact: give a Decimal, an int or a text of digits")  # noqa: TRY004 - one error
        try:
            made = super().__new__(cls, amount)
        except InvalidOperation:
            raise ValueError("MRR is not a number: give a Decimal, an int or a text of digits") from None
        if not made.is_finite() or made < 0:
            raise ValueError("MRR is negative or not finite: give an amount of at least 0")
        return made

    @property
    def annual(self) -> Decimal:
        """Twelve times it."""
        return Decimal(self) * MONTHS


class FeatureAdoptionScore(float):
    """How far a customer uses what was bought, from 0 (nothing) to 1 (everything); ValueError otherwise."""

    __slots__ = ()

    def __new__(cls, share: float) -> Self:
        made = super().__new__(cls, share)
        if not (math.isfinite(made) and 0 <= made <= 1):
            raise ValueError("FeatureAdoptionScore is not between 0 and 1: give a share, such as 0.25")
        return made
