from schemas.topics import LIQUIDATIONS, SNAPSHOTS, STATE, TOPICS, TopicNames


def test_names_go_under_the_prefix_and_back() -> None:
    names = TopicNames("history.")
    for topic in TOPICS.values():
        assert names.topic(names.of(topic)) is topic
    assert names.topic("market.liquidations") is None
    assert TopicNames().topic("somebody.elses") is None


def test_live_topics_carry_append_time_and_imported_ones_are_kept() -> None:
    assert LIQUIDATIONS.config()["message.timestamp.type"] == "LogAppendTime"
    assert LIQUIDATIONS.config()["retention.ms"] == str(30 * 86_400_000)
    assert LIQUIDATIONS.config(imported=True) == {
        "cleanup.policy": "delete",
        "message.timestamp.type": "CreateTime",
        "retention.ms": "-1",
    }


def test_a_compacted_topic_has_no_retention() -> None:
    assert "retention.ms" not in SNAPSHOTS.config()


def test_only_topics_by_asset_follow_the_partitions() -> None:
    assert LIQUIDATIONS.partitions(7) == 7
    assert STATE.partitions(7) == 1
