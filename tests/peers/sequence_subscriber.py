#!/usr/bin/env python3
"""Counts the numbered messages of sequence_publisher.py at the cloud's broker.

    sequence_subscriber.py PORT PREFIX TOPICS MESSAGES IDLE_S

Prints `subscribed`, and when all messages are there, or nothing has come for IDLE_S seconds, one JSON line:
    received    all PUBLISH packets
    distinct    different messages
    lost        messages that never came
    duplicates  received - distinct; QoS 1 allows them
    reordered   messages whose first arrival came after a later one of the same topic
"""
import json
import sys
import time

import paho.mqtt.client as mqtt

port, prefix, topics, total, idle = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
seen = [set() for _ in range(topics)]
newest = [-1] * topics
received = reordered = distinct = 0
last = time.monotonic()


def on_message(client, userdata, message):
    global received, reordered, distinct, last
    received += 1
    last = time.monotonic()
    topic, number = int(message.topic.rsplit("/", 1)[1]), int(message.payload)
    if number in seen[topic]:
        return
    seen[topic].add(number)
    distinct += 1
    if number < newest[topic]:
        reordered += 1
    newest[topic] = max(newest[topic], number)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="counter", clean_session=False, protocol=mqtt.MQTTv311)
client.on_message = on_message
client.on_subscribe = lambda *_: print("subscribed", flush=True)
client.connect("127.0.0.1", port, keepalive=60)
client.subscribe(f"{prefix}/#", qos=1)
while distinct < total and time.monotonic() - last < idle:
    client.loop(0.1)
# A moment more, so that a message that comes twice is seen to.
until = time.monotonic() + 1
while time.monotonic() < until:
    client.loop(0.1)
print(json.dumps({"received": received, "distinct": distinct, "lost": total - distinct,
                  "duplicates": received - distinct, "reordered": reordered}), flush=True)
client.disconnect()
