-- Sums of a second, a minute and an hour. Here as plain views, computed when asked; with TimescaleDB's community features
-- the next migration replaces them by continuous aggregates of the same names and columns.

CREATE VIEW liquidations_1s AS
SELECT date_bin('1 second', event_time, 'epoch') AS bucket, asset, exchange, side,
       count(*) AS events, sum(notional_uusd) AS notional_uusd, sum(quantity) AS quantity,
       min(price) AS price_min, max(price) AS price_max
FROM liquidations GROUP BY 1, 2, 3, 4;

CREATE VIEW liquidations_1m AS
SELECT date_bin('1 minute', bucket, 'epoch') AS bucket, asset, exchange, side,
       sum(events)::bigint AS events, sum(notional_uusd) AS notional_uusd, sum(quantity) AS quantity,
       min(price_min) AS price_min, max(price_max) AS price_max
FROM liquidations_1s GROUP BY 1, 2, 3, 4;

CREATE VIEW liquidations_1h AS
SELECT date_bin('1 hour', bucket, 'epoch') AS bucket, asset, exchange, side,
       sum(events)::bigint AS events, sum(notional_uusd) AS notional_uusd, sum(quantity) AS quantity,
       min(price_min) AS price_min, max(price_max) AS price_max
FROM liquidations_1m GROUP BY 1, 2, 3, 4;
