"""What the wizard offers to choose from: thresholds, brokers, cameras."""

from __future__ import annotations

import dataclasses
import os
import socket
import time

from edge_agent.config import Config, Outbox
from edge_agent.setup import finding
from edge_agent.setup.thresholds import meanings
from edge_agent.statistics.score_log import WATCHED_S, ScoreLog


class TestThresholds:
    def test_what_was_counted_here_is_offered_as_pages_a_day(self, tmp_path):
        config = Config(outbox=Outbox(state_dir=tmp_path))
        [only] = meanings(config, visitors=25)
        assert only.label.startswith("about 1 false page a day")
        assert only.upper is None
        log = ScoreLog(tmp_path, unix=time.time)
        log.count("angry-customer", WATCHED_S, 10 * 86_400)
        for level, visits in ((0, 500), (20, 60), (40, 10)):
            log.count("angry-customer", level, visits)
        log.flush()
        offered = {one.label: one.upper for one in meanings(config) if one.upper is not None}
        assert [label.partition(", counted here in 240 hours")[0] for label in offered] == [
            "no false page so far (0.0 to 0.4)",
            "about 1 false page a day (0.5 to 1.8)",
            "about 7 false pages a day (5.5 to 8.8)",
        ]
        assert list(offered.values()) == sorted(offered.values(), reverse=True)
        rule = dataclasses.replace(config.rules[0], upper=max(offered.values()))
        first = meanings(dataclasses.replace(config, rules=(rule,)))[0]
        assert first.label.startswith("no false page so far"), "the one in force comes first"

    def test_what_is_not_known_is_not_claimed(self):
        rule = dataclasses.replace(Config().rules[0], upper=0.3)
        first, _ = meanings(dataclasses.replace(Config(), rules=(rule,)))
        assert first.label == "as it is, 0.3 in the file: what it means here is not known yet"


class TestFinding:
    def test_a_broker_that_announces_itself_is_found(self):
        from zeroconf import ServiceInfo, Zeroconf

        name = f"test-{os.getpid()}._secure-mqtt._tcp.local."
        info = ServiceInfo(
            "_secure-mqtt._tcp.local.", name, addresses=[socket.inet_aton("127.0.0.1")], port=8899, server="t.local."
        )
        announcing = Zeroconf(interfaces=["127.0.0.1"])
        try:
            announcing.register_service(info, cooperating_responders=True)  # without asking for others of the name
            found = []
            for _ in range(20):  # on a busy computer an answer takes its time
                found += finding.announced(browse_s=1.0)
                if any(one.values["mqtt.host"] == "t.local" for one in found):
                    break
        finally:
            announcing.close()
        assert {"mqtt.host": "t.local", "mqtt.port": 8899, "mqtt.tls.enabled": True} in [one.values for one in found]

    def test_what_is_no_camera_is_not_offered(self, tmp_path):
        (tmp_path / "video0").write_bytes(b"")
        assert finding.cameras(dev=tmp_path) == []
