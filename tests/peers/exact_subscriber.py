#!/usr/bin/env python3
"""Checks the numbered messages of sequence_publisher.py at the cloud's broker, by what each uplink says that it sent.

    exact_subscriber.py PORT PREFIX UPLINKS TOPICS MESSAGES IDLE_S

UPLINKS is a list with commas. Message i of topic t comes from uplink u on PREFIX/u/t with the payload "i" and the user properties
`gateway`, `epoch` and `n`. It is subscribed at QoS 0, so that its own link adds no repetition; it connects again when the broker was away.

Prints `subscribed` after each SUBACK, `mark PAYLOAD` for what comes on PREFIX/mark, `seen PACKETS` now and then, and when all messages are
there, or nothing has come for IDLE_S seconds, one JSON line with an object an uplink:
    received    all PUBLISH packets
    lost        messages that never came
    repeated    packets whose `n` had come before
    reordered   packets whose `n` came first after a higher one
    holes       numbers below the highest that never came
    epochs      different epochs
"""
import json
import sys
import time

import paho.mqtt.client as mqtt

port, prefix, uplinks = int(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
topics, total, idle = int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])


class Uplink:
    def __init__(self):
        self.messages, self.numbers, self.epochs = set(), set(), set()
        self.received = self.repeated = self.reordered = self.highest = 0


counted = {name: Uplink() for name in uplinks}
last, distinct, packets = time.monotonic(), 0, 0


def on_message(client, userdata, message):
    global last, distinct, packets
    if message.topic == f"{prefix}/mark":
        print("mark", message.payload.decode(), flush=True)
        return
    last = time.monotonic()
    packets += 1
    name, topic = message.topic.rsplit("/", 2)[1:]
    uplink, marks = counted[name], dict(message.properties.UserProperty)
    n = int(marks["n"])
    uplink.received += 1
    uplink.epochs.add((marks["gateway"], marks["epoch"]))
    key = int(message.payload) * topics + int(topic)
    if key not in uplink.messages:
        uplink.messages.add(key)
        distinct += 1
    if n in uplink.numbers:
        uplink.repeated += 1
        return
    uplink.numbers.add(n)
    uplink.reordered += n < uplink.highest
    uplink.highest = max(uplink.highest, n)


def fresh_client():
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="exact", protocol=mqtt.MQTTv5)
    client.on_message = on_message
    client.on_connect = lambda client, *_: client.subscribe(f"{prefix}/#", qos=0)
    client.on_subscribe = lambda *_: print("subscribed", flush=True)
    return client


client, shown, complete_since = None, 0.0, None
while True:
    if client is None:
        client = fresh_client()
        try:
            client.connect("127.0.0.1", port, keepalive=60)
        except OSError:
            client = None
            time.sleep(0.05)
            continue
    if client.loop(0.05) != mqtt.MQTT_ERR_SUCCESS:
        client = None
        continue
    now = time.monotonic()
    if distinct == total * len(uplinks) and complete_since is None:
        complete_since = now
    # A moment more, so that a message that comes twice is seen to.
    if now - last > (2 if complete_since is not None else idle):
        break
    if now - shown > 1:
        shown = now
        print("seen", packets, flush=True)
print(json.dumps({name: {"received": u.received, "lost": total - len(u.messages), "repeated": u.repeated,
                         "reordered": u.reordered, "holes": u.highest - len(u.numbers), "epochs": len(u.epochs)}
                  for name, u in counted.items()}), flush=True)
