ALTER TABLE open_interest SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'asset', timescaledb.compress_orderby = 'event_time, event_id');
ALTER TABLE funding SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'asset', timescaledb.compress_orderby = 'event_time, event_id');
ALTER TABLE feed_health SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'exchange', timescaledb.compress_orderby = 'event_time, channel, state');
SELECT add_compression_policy('open_interest', INTERVAL '7 days');
SELECT add_compression_policy('funding', INTERVAL '14 days');
SELECT add_compression_policy('feed_health', INTERVAL '14 days');
