// A broker that keeps sessions and messages in memory, until it ends: node aedes_broker.cjs PORT. Prints "ready".
'use strict';

const aedes = require('aedes')({ heartbeatInterval: 60000 });

require('node:net')
  .createServer(aedes.handle)
  .listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
