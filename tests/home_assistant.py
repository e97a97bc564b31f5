"""A Home Assistant of its own, run with its own Python: told what to do, and telling what happens, in lines of JSON.

First line in: {"port", "prefix", "automations": [YAML, …]}. Then {"announced": [[topic, body], …]}, {"press": entity},
{"tap": action of a notification}.
Out, as they come: {"entity", "state", "attributes"}, {"notification"}, {"dropped": keys that its schemas do not know}.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType

from homeassistant import bootstrap, loader
from homeassistant.components.mqtt import const as mqtt
from homeassistant.config_entries import ConfigEntries, ConfigEntry
from homeassistant.const import EVENT_STATE_CHANGED, __version__
from homeassistant.core import Context, HomeAssistant, callback
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import parse_yaml

#: One of the two is for newer versions, one for older ones.
NAMES = {"object_id", "default_entity_id"}


def tell(**what) -> None:
    print(json.dumps(what, default=str), flush=True)


async def start(port: int, prefix: str, automations: list[str], folder: str) -> HomeAssistant:
    Path(folder, "configuration.yaml").touch()
    hass = HomeAssistant(folder)
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    for component in ("homeassistant", "persistent_notification"):
        assert await async_setup_component(hass, component, {})
    # Only their imports are needed: they serve the pages of Home Assistant, which nobody looks at here.
    hass.config.components |= {"http", "file_upload"}

    @callback
    def changed(event) -> None:
        new = event.data["new_state"]
        if new is not None:
            tell(entity=new.entity_id, state=new.state, attributes=dict(new.attributes))

    @callback
    def notified(call) -> None:
        tell(notification=dict(call.data))

    hass.bus.async_listen(EVENT_STATE_CHANGED, changed)
    hass.services.async_register("notify", "mobile_app_kims_phone", notified)
    hass.states.async_set("person.kim", "home", {"user_id": "user-of-kim", "friendly_name": "Kim"})
    entry = ConfigEntry(
        data={"broker": "127.0.0.1", "port": port}, options={"discovery_prefix": prefix}, domain="mqtt", title="broker",
        source="user", unique_id=None, version=mqtt.CONFIG_ENTRY_VERSION, minor_version=mqtt.CONFIG_ENTRY_MINOR_VERSION,
        discovery_keys=MappingProxyType({}), subentries_data=(),
    )  # fmt: skip
    await hass.config_entries.async_add(entry)
    assert entry.state.recoverable, entry.reason
    assert await async_setup_component(hass, "automation", {"automation": [parse_yaml(text) for text in automations]})
    await hass.async_start()
    return hass


def dropped(topic: str, body: dict) -> list[str]:
    """Return the keys that are dropped without a word.

    Raises:
        Exception: the announcement is invalid.
    """
    component = topic.split("/")[1]
    schema = importlib.import_module(f"homeassistant.components.mqtt.{component}").DISCOVERY_SCHEMA
    known = {str(key) for key in schema({key: value for key, value in body.items() if key != "origin"})}
    assert known & NAMES
    return sorted(set(body) - known - NAMES - {"origin"})


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        hass = await start(**json.loads(sys.stdin.readline()), folder=folder)
        print("Home Assistant", __version__, file=sys.stderr)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            if "announced" in command:
                tell(dropped=[key for topic, body in command["announced"] for key in dropped(topic, body)])
            elif "press" in command:
                await hass.services.async_call("button", "press", {"entity_id": command["press"]})
            else:
                context = Context(user_id="user-of-kim")
                hass.bus.async_fire("mobile_app_notification_action", {"action": command["tap"]}, context=context)
        await hass.async_stop()


asyncio.run(main())
