-- The rows of `staged`, of which no two have one id, take the place of those with their ids, or are added.
-- Locks the file as any writing does.
MERGE INTO raw.customers AS kept
USING staged ON kept.customer_id::VARCHAR = staged.customer_id
WHEN MATCHED THEN UPDATE SET
    industry = staged.industry,
    plan_tier = staged.plan_tier,
    signup_date = staged.signup_date,
    mrr = staged.mrr,
    churn_date = staged.churn_date
WHEN NOT MATCHED THEN INSERT (customer_id, industry, plan_tier, signup_date, mrr, churn_date)
VALUES (
    staged.customer_id, staged.industry, staged.plan_tier, staged.signup_date, staged.mrr, staged.churn_date
);
