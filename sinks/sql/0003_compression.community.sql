-- Not part of the Apache-licensed build. A week stays as rows, since exchanges send backlogs of some days.

ALTER TABLE liquidations SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'asset', timescaledb.compress_orderby = 'event_time, event_id');
ALTER TABLE windows SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'asset, size_ms', timescaledb.compress_orderby = 'window_start, window_id');
ALTER TABLE alerts SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'asset', timescaledb.compress_orderby = 'event_time, alert_id');
SELECT add_compression_policy('liquidations', INTERVAL '7 days');
SELECT add_compression_policy('windows', INTERVAL '7 days');
SELECT add_compression_policy('alerts', INTERVAL '60 days');
