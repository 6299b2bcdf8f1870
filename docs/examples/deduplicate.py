#!/usr/bin/env python3
"""Takes each forwarded message once and reports gaps: python3 deduplicate.py HOST PORT FILTER (needs paho-mqtt 2)."""
import sys
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

seen = {}  # (gateway, epoch) -> the last n; keep it where you keep the data

def on_message(client, userdata, message):
    marks = dict(getattr(message.properties, "UserProperty", []))
    if "n" in marks:                            # QoS 0 and the gateway's state come without a number
        source, n = (marks["gateway"], marks["epoch"]), int(marks["n"])
        last = seen.get(source)
        if last is not None and n <= last:
            return                              # a repetition
        if last is not None and n > last + 1:
            print(f"gap: {n - last - 1} messages of {source[0]} before {n}", flush=True)
        seen[source] = n
    print(message.topic, message.payload.decode(errors="replace"), flush=True)  # use it

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="deduplicate", protocol=mqtt.MQTTv5)
client.on_connect = lambda c, *_: c.subscribe(sys.argv[3], qos=2)
client.on_message = on_message
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 7 * 86400       # the broker keeps what comes while this is away
client.connect(sys.argv[1], int(sys.argv[2]), clean_start=False, properties=session)
client.loop_forever()
