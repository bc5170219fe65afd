-- Open interest, funding and the health of feeds. Amounts in coins and USD; one-sided for every exchange.

CREATE TABLE open_interest (
    event_time           timestamptz      NOT NULL,
    event_id             text             NOT NULL,
    exchange             text             NOT NULL,
    asset                text             NOT NULL,
    instrument           text             NOT NULL,
    market               text             NOT NULL,
    open_interest        double precision,
    open_interest_usd    double precision,
    received_time        timestamptz,
    append_time          timestamptz      NOT NULL,
    PRIMARY KEY (event_time, event_id)
);
CREATE INDEX open_interest_asset ON open_interest (asset, event_time DESC);
COMMENT ON TABLE open_interest IS 'Open interest of one contract a row, one-sided; natural key event_time, event_id.';
COMMENT ON COLUMN open_interest.open_interest IS 'In coins; null where the exchange states USD and no mark was known.';

CREATE TABLE funding (
    event_time           timestamptz      NOT NULL,
    event_id             text             NOT NULL,
    exchange             text             NOT NULL,
    asset                text             NOT NULL,
    instrument           text             NOT NULL,
    market               text             NOT NULL,
    rate                 double precision NOT NULL,
    interval_hours       double precision NOT NULL,
    rate_8h              double precision NOT NULL,
    next_funding_time    timestamptz,
    settled              boolean          NOT NULL,
    received_time        timestamptz,
    append_time          timestamptz      NOT NULL,
    PRIMARY KEY (event_time, event_id)
);
CREATE INDEX funding_asset ON funding (asset, event_time DESC);
COMMENT ON TABLE funding IS 'Funding rate of one contract a row, as fractions; natural key event_time, event_id.';
COMMENT ON COLUMN funding.settled IS 'True: it was paid. False: as predicted at event_time.';

CREATE TABLE feed_health (
    event_time           timestamptz      NOT NULL,
    exchange             text             NOT NULL,
    channel              text             NOT NULL,
    state                text             NOT NULL,
    since_time           timestamptz      NOT NULL,
    expected_gap_ms      bigint,
    lag_p50_ms           double precision,
    lag_p99_ms           double precision,
    clock_offset_ms      double precision,
    detail               text             NOT NULL,
    append_time          timestamptz      NOT NULL,
    PRIMARY KEY (event_time, exchange, channel, state)
);
COMMENT ON TABLE feed_health IS 'State of one channel of one exchange, at every change and once a minute.';
