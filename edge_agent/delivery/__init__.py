"""From an alert to a staff pager: messages, the spool that survives a power cut, MQTT."""
