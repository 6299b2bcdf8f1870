"""Sends itself a message at each QoS, then leaves a session behind and comes back to it.

Usage: every_level.py '{"port": 1883, "version": "5", "name": "a", …}'
Optional keys: path (WebSocket), ca (TLS), certificate and key.
Prints a line a message, "qos payload", and "done".
"""

import json
import queue
import ssl
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

given = json.loads(sys.argv[1])
is_v5 = given["version"] == "5"
topic = f"every-level/{given['name']}"
received = queue.Queue()


def connected(client_id, keep):
    """A client that is connected, and whether there was a session; with `keep` the session outlives the connection."""
    kind = {"protocol": mqtt.MQTTv5} if is_v5 else {"protocol": mqtt.MQTTv311, "clean_session": not keep}
    transport = "websockets" if "path" in given else "tcp"
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, transport=transport, **kind)
    if "path" in given:
        client.ws_set_options(path=given["path"])
    if "ca" in given:
        context = ssl.create_default_context(cafile=given["ca"])
        if "certificate" in given:
            context.load_cert_chain(given["certificate"], given["key"])
        client.tls_set_context(context)
    answer = queue.Queue()
    client.on_connect = lambda _client, _data, flags, reason, _properties: answer.put((flags, reason))
    client.on_subscribe = lambda _client, _data, _id, reasons, _properties: answer.put(reasons)
    client.on_message = lambda _client, _data, message: received.put(message)
    more = {}
    if is_v5:
        more = {"clean_start": not keep, "properties": Properties(PacketTypes.CONNECT)}
        more["properties"].SessionExpiryInterval = 60 if keep else 0
    client.connect("127.0.0.1", given["port"], **more)
    client.loop_start()
    flags, reason = answer.get(timeout=15)
    assert not reason.is_failure, reason
    client.answer = answer
    return client, flags.session_present


def subscribe(client):
    client.subscribe(topic, qos=2)
    reasons = client.answer.get(timeout=15)
    assert [reason.value for reason in reasons] == [2], reasons


def publish(client, qos, payload):
    client.publish(topic, payload, qos=qos).wait_for_publish(15)


def expect():
    message = received.get(timeout=15)
    print(message.qos, message.payload.decode(), flush=True)


def leave(client):
    client.disconnect()
    client.loop_stop()


client, present = connected(given["name"], keep=False)
assert not present
subscribe(client)
for level, word in enumerate(["zero", "one", "two"]):
    publish(client, level, word)
    expect()
leave(client)

client, present = connected(given["name"], keep=True)
assert not present
subscribe(client)
leave(client)
other, _ = connected(given["name"] + "-other", keep=False)
publish(other, 1, "kept one")
publish(other, 2, "kept two")
leave(other)
client, present = connected(given["name"], keep=True)
assert present, "the session is gone"
expect()
expect()
leave(client)
client, _ = connected(given["name"], keep=False)
leave(client)
print("done", flush=True)
