from pathlib import Path

import pytest

from runtime.settings import FILE_VARIABLE, KafkaSettings, StageSettings, load
from schemas.errors import SettingsError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("LIQCASCADE_") or name == "SCHEMA_REGISTRY_URL":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_need_no_file() -> None:
    assert load(StageSettings).kafka == KafkaSettings()


def test_the_environment_stands_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "liqcascade.toml").write_text('[kafka]\npartitions = 3\nbootstrap_servers = "a:1"\n')
    assert load(StageSettings).kafka.partitions == 3
    monkeypatch.setenv("LIQCASCADE_KAFKA__PARTITIONS", "4")
    assert load(StageSettings).kafka.partitions == 4
    assert load(StageSettings).kafka.bootstrap_servers == "a:1"


def test_a_named_file_is_read_and_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "other.toml"
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    with pytest.raises(SettingsError, match=r"other\.toml, which is not a file"):
        load(StageSettings)
    file.write_text("[kafka]\npartitions = 5\n")
    assert load(StageSettings).kafka.partitions == 5


def test_sections_of_other_stages_are_left_to_them(tmp_path: Path) -> None:
    (tmp_path / "liqcascade.toml").write_text("[detector]\nhold_ms = 1\n")
    assert load(StageSettings)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[kafka]\npartitions = 0\n", r"kafka\.partitions: .*greater than or equal to 1, was 0"),
        ("[kafka]\npartition = 3\n", r"kafka\.partition is not a setting"),
        ("[kafka]\nsecurity_protocol = 'TLS'\n", r"kafka\.security_protocol: .*was 'TLS'"),
        ("[kafka\n", r"liqcascade\.toml is not TOML"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "liqcascade.toml").write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        load(StageSettings)


def test_a_secret_is_never_in_the_message(tmp_path: Path) -> None:
    (tmp_path / "liqcascade.toml").write_text("[kafka]\nsasl_password = ['hunter2']\n")
    with pytest.raises(SettingsError) as caught:
        load(StageSettings)
    assert "hunter2" not in str(caught.value)


def test_the_usual_variable_names_the_schema_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081")
    monkeypatch.setenv("LIQCASCADE_KAFKA__PARTITIONS", "3")
    assert load(StageSettings).kafka.schema_registry_url == "http://127.0.0.1:8081"
    assert load(StageSettings).kafka.partitions == 3
    monkeypatch.delenv("SCHEMA_REGISTRY_URL")
    assert load(StageSettings).kafka.schema_registry_url is None
