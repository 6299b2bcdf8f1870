"""Publishes N numbered messages at QoS 1 through any kind of listener and takes them back.

Usage: echo_through.py '{"port": 9001, "version": "5", "count": 100, …}'
Optional keys: path (WebSocket), ca (TLS), tls ("1.2"), certificate and key, user and password.
Ends with 0 when all came back in order, with 3 when the broker did not let it in (the reason is printed).
"""

import json
import ssl
import sys
import threading

import paho.mqtt.client as mqtt

given = json.loads(sys.argv[1])
count = given["count"]
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id=f"echo-{given['port']}",
    protocol={"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[given["version"]],
    transport="websockets" if "path" in given else "tcp",
)
if "path" in given:
    client.ws_set_options(path=given["path"])
if "ca" in given:
    context = ssl.create_default_context(cafile=given["ca"])
    if given.get("tls") == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if "certificate" in given:
        context.load_cert_chain(given["certificate"], given["key"])
    client.tls_set_context(context)
if "user" in given:
    client.username_pw_set(given["user"], given.get("password"))

subscribed, complete, refused = threading.Event(), threading.Event(), threading.Event()
received, reasons = [], []


def on_connect(_client, _userdata, _flags, reason, _properties):
    reasons.append(reason)
    if reason.is_failure:
        refused.set()
        subscribed.set()
    else:
        client.subscribe("echo/+", qos=1)


def on_message(_client, _userdata, message):
    received.append(int(message.payload[:8]))
    if len(received) == count:
        complete.set()


client.on_connect = on_connect
client.on_subscribe = lambda *_: subscribed.set()
client.on_message = on_message
client.connect("127.0.0.1", given["port"])
client.loop_start()
assert subscribed.wait(8), "no SUBACK"
if refused.is_set():
    print(reasons[0])
    sys.exit(3)
# Every tenth is larger than a WebSocket frame of the broker.
bodies = [f"{n:08}" + "x" * (40_000 if n % 10 == 0 else 10) for n in range(count)]
pending = [client.publish(f"echo/{n % 7}", bodies[n], qos=1) for n in range(count)]
for info in pending:
    info.wait_for_publish(8)
assert complete.wait(8), f"{len(received)} of {count} came back"
client.disconnect()
client.loop_stop()
assert received == list(range(count)), "not in order"
