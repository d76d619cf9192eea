"""A customer of the warehouse."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar

from qupersync_extractor.domain.catalogue.columns import DATE, VARCHAR, numeric
from qupersync_extractor.domain.catalogue.entity import Entity, EntityRefusedError, SyncedAt
from qupersync_extractor.domain.warehouse.checked import check_word, checked
from qupersync_extractor.domain.warehouse.values import MRR, Industry, PlanTier


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer(Entity):
    """One customer. The table says what is so now, so it has no cursor: only snapshots see a change."""

    NAME: ClassVar[str] = "customers"
    KEY: ClassVar[tuple[str, ...]] = ("customer_id",)

    customer_id: Annotated[str, VARCHAR]
    industry: Annotated[Industry | None, VARCHAR]
    plan_tier: Annotated[PlanTier, VARCHAR]
    signup_date: Annotated[date, DATE]
    mrr: Annotated[MRR, numeric(18, 4)]
    churn_date: Annotated[date | None, DATE] = None
    synced_at: SyncedAt = None

    def __post_init__(self) -> None:
        Entity.__post_init__(self)
        check_word(self, "customer_id")
        checked(self, "industry", Industry)
        checked(self, "plan_tier", PlanTier)
        checked(self, "mrr", MRR)
        if self.churn_date is not None and self.churn_date < self.signup_date:
            raise EntityRefusedError(
                self.NAME,
                "churn_date",
                "is before signup_date",
                cure="Give the day on which the customer left, or None",
            )

    @property
    def is_active(self) -> bool:
        """Whether no day of leaving is known."""
        return self.churn_date is None

    @property
    def annual_revenue(self) -> Decimal:
        """Twelve times `mrr`, exact."""
        return self.mrr.annual

    def is_active_on(self, day: date) -> bool:
        """Whether the customer had signed up by `day`, and had not left."""
        return self.signup_date <= day and (self.churn_date is None or day < self.churn_date)

    def tenure_days(self, day: date) -> int:
        """Days from signing up to `day`, or to leaving if that was earlier; 0 before signing up."""
        end = day if self.churn_date is None else min(day, self.churn_date)
        return max(0, (end - self.signup_date).days)
