SELECT create_hypertable('open_interest', by_range('event_time', INTERVAL '1 day'), migrate_data => true);
SELECT create_hypertable('funding', by_range('event_time', INTERVAL '7 days'), migrate_data => true);
SELECT create_hypertable('feed_health', by_range('event_time', INTERVAL '7 days'), migrate_data => true);
