"""Publishes N numbered messages at QOS (1 or 2) and takes them back from the same broker.

Usage: echo_in_order.py PORT VERSION N QOS
Ends with 0 when all came back once and in order, and every publish was acknowledged.
"""

import sys
import threading

import paho.mqtt.client as mqtt

port, version, count, qos = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
protocol = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[version]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="echo", protocol=protocol)
subscribed, complete = threading.Event(), threading.Event()
received = []


def on_message(_client, _userdata, message):
    received.append(int(message.payload))
    if len(received) == count:
        complete.set()


client.on_connect = lambda c, *_: c.subscribe("echo/+", qos=qos)
client.on_subscribe = lambda *_: subscribed.set()
client.on_message = on_message
client.connect("127.0.0.1", port)
client.loop_start()
assert subscribed.wait(5), "no SUBACK"
pending = [client.publish(f"echo/{n % 7}", str(n), qos=qos) for n in range(count)]
for info in pending:
    info.wait_for_publish(5)
assert complete.wait(5), f"{len(received)} of {count} came back"
client.disconnect()
client.loop_stop()
assert received == list(range(count)), "not in order"
