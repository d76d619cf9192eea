"""The demo's customers and what they do: made from numbers and a seed alone, so that the same ones give the same rows.

The extractor's entities are imported when rows are made: the local stack installs without the extractor.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qupersync_extractor.domain.warehouse import Customer, UsageEvent

EVENTS_AN_INSTANT: Final = 20
SPAN: Final = timedelta(days=120)
_INDUSTRIES: Final = ("technology", "finance", "healthcare", "retail", "education", "manufacturing", "Blumenhandel")
_TIERS: Final = ("free", "starter", "professional", "enterprise")
_EVENTS: Final = ("login", "feature_used", "export", "api_call", "support_ticket")
_CHURNING_EVERY: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Customers 1 to `count`, who have done `events` things in the 120 days up to `until` (UTC, without zone).

    Every fourth has left, and used less of what was bought before: that is what a model can learn.
    """

    count: int
    events: int
    until: datetime
    seed: int

    def customers(self, first: int, count: int) -> list["Customer"]:
        """The customers from number `first` on."""
        return [self._customer(number) for number in range(first, first + count)]

    def seeded_events(self, first: int, count: int) -> list["UsageEvent"]:
        """The events from number `first` on, of all that were made at first; some share an instant."""
        instants = max(1, self.events // EVENTS_AN_INSTANT)
        begin = self.until - SPAN
        places = [begin + SPAN * ((number // EVENTS_AN_INSTANT) / instants) for number in range(first, first + count)]
        return [
            self._event(number, min(moment, self.until))
            for number, moment in zip(range(first, first + count), places, strict=True)
        ]

    def new_events(self, first: int, moments: Sequence[datetime]) -> list["UsageEvent"]:
        """Events that happen now; their numbers begin with `first`, beyond the seeded ones."""
        return [self._event(first + place, moment) for place, moment in enumerate(moments)]

    def churns(self, number: int) -> bool:
        """Whether this customer leaves, or has left."""
        return number % _CHURNING_EVERY == 0

    def _customer(self, number: int) -> "Customer":
        from qupersync_extractor.domain.warehouse import MRR, Customer, Industry, PlanTier

        chance = self._chance("customer", number)
        tier = chance.randrange(len(_TIERS))
        left = chance.randint(1, 60) if self.churns(number) else None
        return Customer(
            customer_id=customer_id(number),
            industry=Industry(chance.choice(_INDUSTRIES)) if chance.random() < 0.95 else None,  # noqa: PLR2004
            plan_tier=PlanTier(_TIERS[tier]),
            signup_date=self._day(chance.randint(61, 1500)),
            mrr=MRR(Decimal(tier * chance.randrange(10_000, 500_000)).scaleb(-4) * 10),
            churn_date=None if left is None else self._day(left),
        )

    def _event(self, number: int, moment: datetime) -> "UsageEvent":
        from qupersync_extractor.domain.warehouse import EventType, FeatureAdoptionScore, UsageEvent

        chance = self._chance("event", number)
        who = chance.randint(1, self.count)
        if self.churns(who) and chance.random() < 0.7:  # noqa: PLR2004 - who leaves does less
            who = chance.randint(1, self.count)
        share = chance.betavariate(2, 5) if self.churns(who) else chance.betavariate(5, 2)
        return UsageEvent(
            event_id=f"e{number:012}",
            customer_id=customer_id(who),
            timestamp=moment,
            event_type=EventType(chance.choice(_EVENTS)),
            feature_adoption_score=FeatureAdoptionScore(round(share, 3)) if chance.random() < 0.8 else None,  # noqa: PLR2004
        )

    def _day(self, ago: int) -> date:
        return self.until.date() - timedelta(days=ago)

    def _chance(self, what: str, number: int) -> random.Random:
        return random.Random(f"{what}:{self.seed}:{number}")  # noqa: S311 - reproducible, not secret


def customer_id(number: int) -> str:
    """The id of a customer by number."""
    return f"c{number:09}"
