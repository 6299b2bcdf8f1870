#!/usr/bin/env python3
"""Publishes numbered messages at QoS 1 and sees each one acknowledged, however often the broker dies meanwhile.

    sequence_publisher.py PORT PREFIX TOPICS MESSAGES [PER_SECOND [PATIENCE_S]]

Message i of topic t goes to PREFIX/t with the payload "i". What is not acknowledged when the connection breaks is sent again,
in order. Prints `acknowledged N` once a second and `done N` at the end; exits 1 after 60 s, or as long as it is told, without progress.
"""
import collections
import socket
import sys
import time

import paho.mqtt.client as mqtt

port, prefix, topics, total = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
per_second = float(sys.argv[5]) if len(sys.argv) > 5 else float("inf")
patience = float(sys.argv[6]) if len(sys.argv) > 6 else 60
WINDOW = 200

waiting = collections.OrderedDict()  # number -> None, in the order of sending
by_mid = {}
connected = False


def on_connect(client, userdata, flags, reason, properties=None):
    global connected
    connected = reason == 0
    # Nothing of an earlier connection counts: what is unacknowledged goes again, oldest first.
    by_mid.clear()
    if connected:
        for number in list(waiting):
            send(client, number)


def on_disconnect(client, userdata, flags, reason, properties=None):
    global connected
    connected = False


def on_publish(client, userdata, mid, reason=None, properties=None):
    number = by_mid.pop(mid, None)
    if number is not None:
        waiting.pop(number, None)


def send(client, number):
    info = client.publish(f"{prefix}/{number % topics}", str(number // topics), qos=1)
    by_mid[info.mid] = number


def fresh_client():
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="", protocol=mqtt.MQTTv311)
    client.on_connect, client.on_disconnect, client.on_publish = on_connect, on_disconnect, on_publish
    client.max_inflight_messages_set(WINDOW)
    return client


client = None
next_number, begin, progress, shown = 0, time.monotonic(), time.monotonic(), 0.0
while next_number < total or waiting:
    if client is None:
        client = fresh_client()
        try:
            client.connect("127.0.0.1", port, keepalive=30)
        except (OSError, socket.timeout):
            client = None
            time.sleep(0.05)
    before = next_number - len(waiting)
    if client is not None and client.loop(0.01) != mqtt.MQTT_ERR_SUCCESS:
        # A new client object: this script, not the library, decides what is sent again.
        connected, client = False, None
    allowed = min(total, int((time.monotonic() - begin) * per_second) if per_second != float("inf") else total)
    while connected and next_number < allowed and len(waiting) < WINDOW:
        waiting[next_number] = None
        send(client, next_number)
        next_number += 1
    now = time.monotonic()
    if next_number - len(waiting) != before:
        progress = now
    if now - progress > patience:
        sys.exit(f"no acknowledgement for {patience:g} s, {len(waiting)} outstanding")
    if now - shown > 0.2:
        shown = now
        print("acknowledged", next_number - len(waiting), flush=True)
client.disconnect()
print("done", next_number, flush=True)
