"""The base of all sections of the configuration."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from egi.units import yaml_name


class Section(BaseModel):
    """Base of all sections: unknown keys refused, units stripped from YAML names, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=yaml_name, protected_namespaces=())

    def plain(self) -> dict[str, Any]:
        """The section as plain values with units, as it would stand in YAML."""
        return json.loads(self.model_dump_json(by_alias=True))
