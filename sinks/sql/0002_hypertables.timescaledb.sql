-- Chunks: a cascade day of 1,000,000 liquidations is about 250 MB with its indexes, which fits the memory of a small server.

SELECT create_hypertable('liquidations', by_range('event_time', INTERVAL '1 day'), migrate_data => true);
SELECT create_hypertable('windows', by_range('window_start', INTERVAL '1 day'), migrate_data => true);
SELECT create_hypertable('alerts', by_range('event_time', INTERVAL '30 days'), migrate_data => true);
