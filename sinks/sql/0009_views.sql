-- The usual questions: which cascades were there, at which prices was liquidated, who moves first.

CREATE FUNCTION level_rank(level text) RETURNS integer IMMUTABLE PARALLEL SAFE LANGUAGE sql AS
$$ SELECT array_position(ARRAY['NONE', 'WATCH', 'ALERT', 'CRITICAL', 'EXTREME'], level) $$;
COMMENT ON FUNCTION level_rank IS 'Cascade levels in rising order, NONE is 1.';

CREATE FUNCTION price_level(price double precision) RETURNS numeric IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $$
    WITH exact AS (SELECT price::text::numeric AS n),
         guessed AS (SELECT n, floor(log(n))::integer AS e FROM exact),
         placed AS (SELECT n, CASE WHEN n < 10::numeric ^ e THEN e - 1 WHEN n >= 10::numeric ^ (e + 1) THEN e + 1
                                   ELSE e END - 3 AS exponent FROM guessed),
         cut AS (SELECT exponent, trunc(CASE WHEN exponent > 0 THEN n / ('1e' || exponent)::numeric
                                             ELSE n * ('1e' || -exponent)::numeric END) AS digits FROM placed)
    SELECT trim_scale((digits - mod(digits, CASE WHEN digits < 2000 THEN 1 WHEN digits < 5000 THEN 2 ELSE 5 END))
                      * ('1e' || exponent)::numeric) FROM cut
$$;
COMMENT ON FUNCTION price_level IS 'Lower end of the price level, 4 to 10 basis points wide: the levels of the Redis sink.';

CREATE VIEW cascade_episodes AS
SELECT a.episode_id, a.asset,
       min(a.event_time) AS started_time,
       max(a.event_time) FILTER (WHERE a.kind = 'ENDED') AS ended_time,
       max(a.event_time) - min(a.event_time) AS duration,
       (array_agg(a.level ORDER BY level_rank(a.level) DESC NULLS LAST, a.sequence))[1] AS peak_level,
       max(a.probability) AS peak_probability,
       (array_agg(a.side ORDER BY a.probability DESC, a.sequence))[1] AS side,
       (array_agg(a.leading_exchange ORDER BY a.probability DESC, a.sequence))[1] AS leading_exchange,
       (array_agg(a.first_mover ORDER BY a.sequence) FILTER (WHERE a.first_mover IS NOT NULL))[1] AS first_mover,
       min(a.confidence) AS confidence_min,
       count(*) AS alerts,
       bool_or(a.kind = 'ENDED') IS NOT TRUE AS is_open
FROM alerts AS a GROUP BY a.episode_id, a.asset;
COMMENT ON VIEW cascade_episodes IS 'One cascade a row: from NONE back to NONE. ended_time is null while it is open.';

CREATE VIEW liquidation_heatmap AS
SELECT date_bin('1 minute', event_time, 'epoch') AS bucket, asset, price_level(price) AS price_level, side,
       count(*) AS events, sum(notional_uusd) AS notional_uusd
FROM liquidations GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW liquidation_heatmap IS 'Liquidations by minute and price level. Ask for an asset and a span of bucket.';

CREATE VIEW exchange_lead AS
SELECT e.asset, x.exchange,
       count(*) FILTER (WHERE e.first_mover = x.exchange) AS episodes_first,
       count(*) FILTER (WHERE e.leading_exchange = x.exchange) AS episodes_led,
       count(*) AS episodes
FROM cascade_episodes AS e
JOIN (SELECT asset, first_mover AS exchange FROM cascade_episodes WHERE first_mover IS NOT NULL
      UNION SELECT asset, leading_exchange FROM cascade_episodes WHERE leading_exchange IS NOT NULL) AS x
  ON x.asset = e.asset
GROUP BY e.asset, x.exchange;
COMMENT ON VIEW exchange_lead IS 'Of the cascades of an asset: in how many an exchange moved first, and in how many it led.';
