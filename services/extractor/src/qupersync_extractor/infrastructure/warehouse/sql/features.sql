-- The features of the customers in `asked` (place, customer_id), a row each and in its order, as domain/warehouse/features
-- defines them. Keys are not enforced: of several rows with one id the one that signed up last counts. Scores are summed
-- as whole billionths, for a sum of doubles depends on the order in which threads meet them. Locks the file against writers.
WITH moment AS (
    SELECT max("timestamp")::TIMESTAMP AS as_of FROM raw.usage_events WHERE isfinite("timestamp"::TIMESTAMP)
),
wanted AS (
    SELECT DISTINCT customer_id FROM asked WHERE customer_id IS NOT NULL
),
past AS (
    SELECT
        rtrim(customer_id::VARCHAR, ' ') AS customer_id,
        epoch_us(as_of) - epoch_us("timestamp"::TIMESTAMP) AS age,
        CASE
            WHEN feature_adoption_score::DOUBLE BETWEEN 0 AND 1
                THEN floor(feature_adoption_score::DOUBLE * 1_000_000_000 + 0.5)::BIGINT
        END AS billionths
    FROM raw.usage_events CROSS JOIN moment
    WHERE rtrim(customer_id::VARCHAR, ' ') IN (SELECT customer_id FROM wanted) AND isfinite("timestamp"::TIMESTAMP)
),
used AS (
    SELECT
        customer_id,
        count(*) FILTER (WHERE age < 30 * 86_400_000_000) AS events_last_30_days,
        count(*) FILTER (WHERE age < 90 * 86_400_000_000) AS events_last_90_days,
        sum(billionths) FILTER (WHERE age < 90 * 86_400_000_000) AS billionths,
        count(billionths) FILTER (WHERE age < 90 * 86_400_000_000) AS measured,
        min(age) AS youngest
    FROM past
    GROUP BY customer_id
),
known AS (
    SELECT
        rtrim(customer_id::VARCHAR, ' ') AS customer_id,
        plan_tier::VARCHAR AS plan_tier,
        signup_date::DATE AS signup_date,
        mrr::DOUBLE AS mrr,
        churn_date::DATE AS churn_date
    FROM raw.customers
    WHERE rtrim(customer_id::VARCHAR, ' ') IN (SELECT customer_id FROM wanted)
    QUALIFY row_number() OVER (
        PARTITION BY rtrim(customer_id::VARCHAR, ' ')
        ORDER BY signup_date DESC, churn_date DESC, mrr DESC, plan_tier DESC
    ) = 1
)
SELECT
    CASE  -- least and greatest pass over NULL
        WHEN as_of IS NOT NULL AND signup_date IS NOT NULL
            THEN greatest(0, date_diff('day', signup_date, least(as_of::DATE, churn_date)))::DOUBLE
    END AS tenure_days,
    mrr,
    plan_tier,
    coalesce(events_last_30_days, 0)::DOUBLE AS events_last_30_days,
    coalesce(events_last_90_days, 0)::DOUBLE AS events_last_90_days,
    billionths::DOUBLE / nullif(measured * 1_000_000_000, 0)::DOUBLE AS mean_feature_adoption_90_days,
    youngest::DOUBLE / 86_400_000_000 AS days_since_last_event
FROM asked
CROSS JOIN moment
LEFT JOIN known ON known.customer_id = asked.customer_id
LEFT JOIN used ON used.customer_id = asked.customer_id
ORDER BY place;
