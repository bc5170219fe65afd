-- The same tables with and without TimescaleDB. Times are timestamptz, words are text, sizes in ms or as interval.

CREATE TABLE liquidations (
    event_time        timestamptz      NOT NULL,
    event_id          text             NOT NULL,
    exchange          text             NOT NULL,
    asset             text             NOT NULL,
    instrument        text             NOT NULL,
    market            text             NOT NULL,
    side              text             NOT NULL CHECK (side IN ('LONG', 'SHORT', 'UNKNOWN')),
    price             double precision NOT NULL CHECK (price > 0 AND price < 'Infinity'),
    quantity          double precision NOT NULL CHECK (quantity > 0 AND quantity < 'Infinity'),
    notional_usd      double precision NOT NULL,
    notional_uusd     bigint           NOT NULL CHECK (notional_uusd >= 0),
    price_kind        text             NOT NULL,
    completeness      text             NOT NULL,
    received_time     timestamptz,
    append_time       timestamptz      NOT NULL,
    backlog           boolean          NOT NULL,
    late              boolean          NOT NULL,
    PRIMARY KEY (event_time, event_id)
);
CREATE INDEX liquidations_asset ON liquidations (asset, event_time DESC);
COMMENT ON TABLE liquidations IS 'One liquidation order of one exchange a row; natural key event_time, event_id.';
COMMENT ON COLUMN liquidations.side IS 'Side of the position that was liquidated, never of the order.';
COMMENT ON COLUMN liquidations.notional_uusd IS 'Micro-USD: sums of it are exact.';
COMMENT ON COLUMN liquidations.received_time IS 'When our producer received it; null where unknown.';
COMMENT ON COLUMN liquidations.append_time IS 'When it was appended to the log from which it landed first.';
COMMENT ON COLUMN liquidations.late IS 'It came after the grace or from a backlog: it lies in market.late.';

CREATE TABLE windows (
    window_start         timestamptz      NOT NULL,
    window_id            text             NOT NULL,
    asset                text             NOT NULL,
    size_ms              integer          NOT NULL,
    window_end           timestamptz      NOT NULL,
    events               bigint           NOT NULL,
    long_events          bigint           NOT NULL,
    short_events         bigint           NOT NULL,
    notional_usd         double precision NOT NULL,
    long_notional_usd    double precision NOT NULL,
    short_notional_usd   double precision NOT NULL,
    exchanges            jsonb            NOT NULL,
    source_partition     integer,
    source_offset        bigint,
    append_time          timestamptz      NOT NULL,
    PRIMARY KEY (window_start, window_id)
);
CREATE INDEX windows_asset ON windows (asset, size_ms, window_start DESC);
COMMENT ON TABLE windows IS 'One closed tumbling window of one asset a row; natural key window_start, window_id.';

CREATE TABLE alerts (
    event_time                    timestamptz      NOT NULL,
    alert_id                      text             NOT NULL,
    episode_id                    text             NOT NULL,
    sequence                      integer          NOT NULL,
    asset                         text             NOT NULL,
    kind                          text             NOT NULL,
    profile                       text             NOT NULL,
    level                         text             NOT NULL,
    previous_level                text             NOT NULL,
    peak_level                    text             NOT NULL,
    absolute_level                text             NOT NULL,
    relative_level                text             NOT NULL,
    relative_ratio                double precision,
    side                          text             NOT NULL,
    probability                   double precision NOT NULL,
    boost                         double precision NOT NULL,
    contributions                 jsonb            NOT NULL,
    windows                       jsonb            NOT NULL,
    exchanges                     jsonb            NOT NULL,
    leading_exchange              text,
    first_mover                   text,
    correlation                   double precision,
    correlation_lag_ms            bigint,
    open_interest_change_1m_pct   double precision,
    open_interest_change_5m_pct   double precision,
    open_interest_change_1h_pct   double precision,
    open_interest_usd_per_s       double precision,
    funding_rate_8h               double precision,
    funding_trend                 double precision,
    funding_max_24h               double precision,
    funding_velocity_per_h        double precision,
    funding_acceleration_per_h2   double precision,
    flags                         jsonb            NOT NULL,
    coverage                      jsonb            NOT NULL,
    confidence                    double precision NOT NULL,
    market_breadth                integer,
    source_partition              integer,
    source_offset                 bigint,
    append_time                   timestamptz      NOT NULL,
    PRIMARY KEY (event_time, alert_id)
);
CREATE INDEX alerts_asset ON alerts (asset, event_time DESC);
COMMENT ON TABLE alerts IS 'One change of a cascade level a row; natural key event_time, alert_id; asset * is the market.';

CREATE TABLE sink_offsets (
    sink           text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    next_offset    bigint      NOT NULL CHECK (next_offset >= 0),
    updated_time   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sink, topic, partition)
);
COMMENT ON TABLE sink_offsets IS 'Next offset to land of every partition, written in the transaction that writes its rows.';
