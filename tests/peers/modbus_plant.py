#!/usr/bin/env python3
"""A Modbus server (pymodbus) that holds what a JSON file says.

    modbus_plant.py PLANT.json tcp      prints the port that it listens on
    modbus_plant.py PLANT.json rtu      prints the path of a pty that it answers on; `ascii` likewise
    modbus_plant.py PLANT.json rtu-over-tcp     as through a converter: prints its port; `ascii-over-tcp` likewise

PLANT.json is {"unit_id": N, "points": [{"table", "address", "type", "byte_order", "value"}, …], "identity": {…}}. The identity is
optional, with the names that pymodbus has for it. The values are put into
registers by pymodbus and struct, not by the project's code. Addresses that no point has do not exist: registers there are
refused with exception 2.
"""

import asyncio
import json
import logging
import os
import sys
import threading
import tty

from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

# A scan asks for units and registers that are not there; pymodbus writes a page about each, which hides what a test has to say.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

DATATYPES = {
    "u16": ModbusClientMixin.DATATYPE.UINT16,
    "i16": ModbusClientMixin.DATATYPE.INT16,
    "u32": ModbusClientMixin.DATATYPE.UINT32,
    "i32": ModbusClientMixin.DATATYPE.INT32,
    "f32": ModbusClientMixin.DATATYPE.FLOAT32,
}


def registers(point):
    """The registers of a point, in the order of their addresses."""
    if point["type"] == "bool":
        return [1 if point["value"] else 0]
    order = point["byte_order"]
    words = ModbusClientMixin.convert_to_registers(
        point["value"], DATATYPES[point["type"]], word_order="big" if order in ("ABCD", "BADC") else "little"
    )
    # Values of one register are big-endian whatever the order of the larger ones is.
    if len(words) == 2 and order in ("BADC", "DCBA"):
        words = [(word >> 8) | (word & 0xFF) << 8 for word in words]
    return words


def device(plant):
    cells = {"coil": {}, "discrete": {}, "holding": {}, "input": {}}
    for point in plant["points"]:
        values = [point["value"]] if point["table"] in ("coil", "discrete") else registers(point)
        for offset, value in enumerate(values):
            cells[point["table"]][point["address"] + offset] = value
    blocks = []
    for table in ("coil", "discrete", "holding", "input"):
        kind = DataType.BITS if table in ("coil", "discrete") else DataType.REGISTERS
        empty = [SimData(0, values=[False] * 16, datatype=kind)] if kind == DataType.BITS else [SimData(0, datatype=kind)]
        block = [SimData(address, values=[value], datatype=kind) for address, value in sorted(cells[table].items())]
        blocks.append(block or empty)
    return SimDevice(plant["unit_id"], simdata=tuple(blocks))


def pty_pair():
    """Two ptys that talk to each other: the path for the server and the path for the client."""
    masters, paths = [], []
    for _ in range(2):
        master, slave = os.openpty()
        tty.setraw(slave)
        masters.append(master)
        # The slave stays open here, so that the line survives either side's closing.
        paths.append(os.ttyname(slave))

    def pump(source, sink):
        while True:
            os.write(sink, os.read(source, 4096))

    for source, sink in (masters, reversed(masters)):
        threading.Thread(target=pump, args=(source, sink), daemon=True).start()
    return paths


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plant = json.load(file)
    context = device(plant)
    identity = ModbusDeviceIdentification(info_name=plant["identity"]) if "identity" in plant else None
    over_tcp = {"tcp": FramerType.SOCKET, "rtu-over-tcp": FramerType.RTU, "ascii-over-tcp": FramerType.ASCII}
    if framer := over_tcp.get(sys.argv[2]):
        server = ModbusTcpServer(context, framer=framer, identity=identity, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        print(server.transport.sockets[0].getsockname()[1], flush=True)
    else:
        ours, theirs = pty_pair()
        framer = {"rtu": FramerType.RTU, "ascii": FramerType.ASCII}[sys.argv[2]]
        server = ModbusSerialServer(
            context, framer=framer, identity=identity, port=ours, baudrate=19200, ignore_missing_devices=True
        )
        await server.serve_forever(background=True)
        print(theirs, flush=True)
    await server.serving


asyncio.run(main())
