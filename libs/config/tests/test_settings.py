"""Settings are read strictly, and every problem is told with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

from libs.config.settings import (
    Address,
    Known,
    ServiceSettings,
    SettingsError,
    known_settings,
    load,
    read,
    settings_config,
)


class Upstreams(BaseModel):
    rag: Address = Field(description="where rag is")


class LabSettings(ServiceSettings):
    model_config = settings_config("WEFT_LAB_")

    upstreams: Upstreams
    redis_url: SecretStr = Field(min_length=8, description="where Redis is, with its password")
    api_key: SecretStr | None = Field(None, description="key, where one is needed")
    workers: int = Field(1, ge=1, le=8, description="how many")


GOOD = {
    "WEFT_LAB_LISTEN": "127.0.0.1:0",
    "WEFT_LAB_CONTEXT_KEY_FILE": "/keys/context.key",
    "WEFT_LAB_UPSTREAMS__RAG": "rag:7701",
    "WEFT_LAB_REDIS_URL": "redis://:hunter2@127.0.0.1:7711",
}


def problems(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> list[str]:
    """What is told of the good settings with these changes; None takes one away."""
    for name, value in {**GOOD, **changes}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    try:
        read(LabSettings)
    except SettingsError as error:
        return error.problems
    return []


def test_good_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values come from the environment, nested ones with __, defaults where nothing is said; nothing can be changed."""
    assert problems(monkeypatch, WEFT_LAB_WORKERS="3", WEFT_OTHER="x") == []
    settings = read(LabSettings)
    assert (settings.listen, settings.upstreams.rag, settings.workers) == ("127.0.0.1:0", "rag:7701", 3)
    assert (settings.grace_s, settings.otlp_endpoint, settings.context_key_file) == (10, "", Path("/keys/context.key"))
    with pytest.raises(ValidationError):
        settings.workers = 4


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with the prefix that is no setting is named, with the nearest that is; nested ones too."""
    assert problems(monkeypatch, WEFT_LAB_WORKER="3") == [
        "WEFT_LAB_WORKER: there is no such setting; did you mean WEFT_LAB_WORKERS?"
    ]
    assert problems(monkeypatch, WEFT_LAB_WORKER=None, WEFT_LAB_UPSTREAMS__RAGS="x:1") == [
        "WEFT_LAB_UPSTREAMS__RAGS: there is no such setting; did you mean WEFT_LAB_UPSTREAMS__RAG?"
    ]


def test_a_missing_value_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting without a default that is not set is named, with what it is for."""
    assert problems(monkeypatch, WEFT_LAB_LISTEN=None) == [
        "WEFT_LAB_LISTEN: is not set; set it to: where to listen, host:port; port 0 takes any"
    ]


def test_a_missing_group_names_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no variable of a nested group is set, the message names the variables that are wanted."""
    told = problems(monkeypatch, WEFT_LAB_UPSTREAMS__RAG=None)
    assert told == ["WEFT_LAB_UPSTREAMS__RAG: is not set; set it to: where rag is"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEFT_LAB_WORKERS", "9"),
        ("WEFT_LAB_WORKERS", "many"),
        ("WEFT_LAB_LISTEN", "7700"),
        ("WEFT_LAB_LISTEN", "127.0.0.1:70000"),
        ("WEFT_LAB_UPSTREAMS__RAG", "rag"),
        ("WEFT_LAB_LOG_LEVEL", "loud"),
        ("WEFT_LAB_GRACE_S", "-1"),
        ("WEFT_LAB_GRACE_S", "nan"),
        ("WEFT_LAB_OTLP_ENDPOINT", "http://collector"),
    ],
)
def test_a_bad_value_is_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value out of range or of the wrong type is one problem: the variable, the value, and what would be right."""
    told = problems(monkeypatch, **{name: value})
    assert len(told) == 1
    assert told[0].startswith(f"{name}={value!r}: ")
    assert "set it to: " in told[0]


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad secret is named, not shown."""
    told = problems(monkeypatch, WEFT_LAB_REDIS_URL="hunter2")
    assert len(told) == 1
    assert told[0].startswith("WEFT_LAB_REDIS_URL: ")
    assert "hunter2" not in told[0]


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """load prints every problem and exits with 2."""
    changes = {"WEFT_LAB_WORKERS": "9", "WEFT_LAB_LISTEN": None, "WEFT_LAB_COLOUR": "red"}
    assert len(problems(monkeypatch, **changes)) == 3
    with pytest.raises(SystemExit) as caught:
        load(LabSettings)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert all(name in printed for name in changes)


def test_all_settings_can_be_listed() -> None:
    """By the names of their variables, with what they are for, and their defaults where they have any."""
    known = known_settings(LabSettings)
    assert known["WEFT_LAB_WORKERS"] == Known("how many", False, "1")
    assert known["WEFT_LAB_UPSTREAMS__RAG"] == Known("where rag is", False, None)
    assert known["WEFT_LAB_API_KEY"] == Known("key, where one is needed", True, "")
    assert known["WEFT_LAB_LOG_LEVEL"].default == "info"
