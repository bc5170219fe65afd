-- Real-time: what is not materialised yet is added when asked. Refreshed as far back as 360 days, less than the retention
-- of 365: a backlog of any age is counted, and what retention has deleted stays in the sums.

DROP VIEW liquidations_1h, liquidations_1m, liquidations_1s;

CREATE MATERIALIZED VIEW liquidations_1s WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket('1 second', event_time) AS bucket, asset, exchange, side,
       count(*) AS events, sum(notional_uusd) AS notional_uusd, sum(quantity) AS quantity,
       min(price) AS price_min, max(price) AS price_max
FROM liquidations GROUP BY 1, 2, 3, 4 WITH NO DATA;

CREATE MATERIALIZED VIEW liquidations_1m WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket('1 minute', bucket) AS bucket, asset, exchange, side,
       sum(events)::bigint AS events, sum(notional_uusd) AS notional_uusd, sum(quantity) AS quantity,
       min(price_min) AS price_min, max(price_max) AS price_max
FROM liquidations_1s GROUP BY 1, 2, 3, 4 WITH NO DATA;

CREATE MATERIALIZED VIEW liquidations_1h WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket('1 hour', bucket) AS bucket, asset, exchange, side,
       sum(events)::bigint AS events, sum(notional_uusd) AS notional_uusd, sum(quantity) AS quantity,
       min(price_min) AS price_min, max(price_max) AS price_max
FROM liquidations_1m GROUP BY 1, 2, 3, 4 WITH NO DATA;

SELECT add_continuous_aggregate_policy('liquidations_1s', start_offset => INTERVAL '360 days',
    end_offset => INTERVAL '1 minute', schedule_interval => INTERVAL '1 minute');
SELECT add_continuous_aggregate_policy('liquidations_1m', start_offset => INTERVAL '360 days',
    end_offset => INTERVAL '2 minutes', schedule_interval => INTERVAL '1 minute');
SELECT add_continuous_aggregate_policy('liquidations_1h', start_offset => INTERVAL '360 days',
    end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '10 minutes');
