-- What the demo's model knows of every customer, written down once more and in another way than the extractor does it, so
-- that the two can be compared. Locks the file against writers.
WITH newest AS (
    SELECT max("timestamp") AS at FROM raw.usage_events
),
used AS (
    SELECT
        e.customer_id,
        countif(e."timestamp" > n.at - INTERVAL 30 DAYS) AS events_30,
        countif(e."timestamp" > n.at - INTERVAL 90 DAYS) AS events_90,
        list(round(e.feature_adoption_score * 1000)::INTEGER) FILTER (
            WHERE e."timestamp" > n.at - INTERVAL 90 DAYS AND e.feature_adoption_score IS NOT NULL
        ) AS thousandths,
        date_diff('microsecond', max(e."timestamp"), any_value(n.at)) AS since
    FROM raw.usage_events AS e, newest AS n
    GROUP BY e.customer_id
)
SELECT
    c.customer_id,
    CASE
        WHEN c.churn_date < n.at::DATE THEN c.churn_date - c.signup_date
        WHEN c.signup_date > n.at::DATE THEN 0
        ELSE n.at::DATE - c.signup_date
    END AS tenure_days,
    c.mrr,
    list_position(['free', 'starter', 'professional', 'enterprise'], c.plan_tier) - 1 AS plan_tier_rank,
    coalesce(u.events_30, 0) AS events_last_30_days,
    coalesce(u.events_90, 0) AS events_last_90_days,
    list_sum(u.thousandths)::DOUBLE / (len(u.thousandths) * 1000)::DOUBLE AS mean_feature_adoption_90_days,
    u.since / 86_400e6 AS days_since_last_event
FROM raw.customers AS c
CROSS JOIN newest AS n
LEFT JOIN used AS u ON u.customer_id = c.customer_id
ORDER BY c.customer_id;
