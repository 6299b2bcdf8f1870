// Sends itself a message at each QoS, then leaves a session behind and comes back to it: every_level.py with MQTT.js.
//
// Usage: node every_level.cjs '{"port": 9001, "version": "5", "name": "a", "path": "/mqtt", …}'
// Optional keys: path (WebSocket), ca (TLS), certificate and key. Prints a line a message, "qos payload", and "done".
'use strict';

const fs = require('node:fs');
const mqtt = require('mqtt');

const given = JSON.parse(process.argv[2]);
const isV5 = given.version === '5';
const topic = `every-level/${given.name}`;
const received = [];
const waiting = [];

async function connected(clientId, keep) {
  const scheme = given.path ? (given.ca ? 'wss' : 'ws') : given.ca ? 'mqtts' : 'mqtt';
  const read = (key) => (given[key] ? fs.readFileSync(given[key]) : undefined);
  const tls = given.ca ? { ca: read('ca'), cert: read('certificate'), key: read('key') } : {};
  const client = mqtt.connect(`${scheme}://127.0.0.1:${given.port}${given.path || ''}`, {
    clientId,
    clean: !keep,
    protocolVersion: isV5 ? 5 : 4,
    properties: isV5 ? { sessionExpiryInterval: keep ? 60 : 0 } : undefined,
    reconnectPeriod: 0,
    ...tls,
    wsOptions: tls,
  });
  client.on('message', (_topic, payload, packet) => {
    const line = `${packet.qos} ${payload}`;
    if (waiting.length > 0) waiting.shift()(line);
    else received.push(line);
  });
  const answer = await new Promise((resolve, reject) => {
    client.once('connect', resolve);
    client.once('error', reject);
    client.once('close', () => reject(new Error('closed instead of CONNACK')));
  });
  return [client, answer.sessionPresent];
}

async function subscribe(client) {
  const [granted] = await client.subscribeAsync(topic, { qos: 2 });
  if (granted.qos !== 2) throw new Error(`granted ${granted.qos}`);
}

async function expect() {
  console.log(received.length > 0 ? received.shift() : await new Promise((resolve) => waiting.push(resolve)));
}

function must(condition, words) {
  if (!condition) throw new Error(words);
}

async function main() {
  let [client, present] = await connected(given.name, false);
  must(!present, 'a session at a clean start');
  await subscribe(client);
  for (const [qos, word] of ['zero', 'one', 'two'].entries()) {
    await client.publishAsync(topic, word, { qos });
    await expect();
  }
  await client.endAsync();

  [client, present] = await connected(given.name, true);
  must(!present, 'a session that nobody left');
  await subscribe(client);
  await client.endAsync();
  const [other] = await connected(`${given.name}-other`, false);
  await other.publishAsync(topic, 'kept one', { qos: 1 });
  await other.publishAsync(topic, 'kept two', { qos: 2 });
  await other.endAsync();
  [client, present] = await connected(given.name, true);
  must(present, 'the session is gone');
  await expect();
  await expect();
  await client.endAsync();
  [client] = await connected(given.name, false);
  await client.endAsync();
  console.log('done');
}

main().catch((error) => {
  console.log(`failed: ${error.message}`);
  process.exit(1);
});
