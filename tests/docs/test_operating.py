"""The guide to operating tells of every setting that there is, as it is."""

from pathlib import Path

import pytest

from libs.config.settings import ServiceSettings
from services.embedding.settings import EmbeddingSettings
from services.gateway.settings import GatewaySettings
from services.inference.settings import InferenceSettings
from services.rag.settings import RagSettings

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "operating.md").read_text()


def row(prefix: str, name: str, settings: type[ServiceSettings]) -> str:
    """What the guide's table says of a setting, up to its default."""
    field = settings.model_fields[name]
    default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    shown = "needed" if field.is_required() else "none" if default in ("", None) else f"`{default}`"
    parts = "__RAG, __EMBEDDING, __INFERENCE" if name == "upstreams" else ""
    return f"| `{prefix}{name.upper()}{parts}` | {shown} | {field.description} |"


@pytest.mark.parametrize("settings", [GatewaySettings, RagSettings, EmbeddingSettings, InferenceSettings])
def test_every_setting_is_told(settings: type[ServiceSettings]) -> None:
    """Each setting's row has its name, its default and its description."""
    own = [name for name in settings.model_fields if name not in ServiceSettings.model_fields]
    rows = [row(str(settings.model_config["env_prefix"]), name, settings) for name in own]
    rows += [row("WEFT_<SERVICE>_", name, ServiceSettings) for name in ServiceSettings.model_fields]
    assert [missing for missing in rows if missing not in GUIDE] == []
