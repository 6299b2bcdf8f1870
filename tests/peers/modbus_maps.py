#!/usr/bin/env python3
"""A Modbus TCP server (pymodbus) whose four tables are full, and what points in them hold.

    modbus_maps.py FOLDER

FOLDER/holding and FOLDER/input are 65,536 registers, big-endian; FOLDER/coil and FOLDER/discrete are a byte a bit.
FOLDER/points.json is a list of points {"table", "address", "type", "byte_order", "bit", "half", "length", "encoding", "scale",
"offset", "scale_from"}. What each of them holds is worked out here with struct and decimal, not by the project's code, and written
to FOLDER/values.json: a list of texts, "fault" in place of a value that must not be read. Then the port is printed.
"""

import asyncio
import decimal
import json
import math
import struct
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

decimal.getcontext().prec = 1000
FORMATS = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f16": "e", "f32": "f", "f64": "d"}
CODECS = {"ascii": "ascii", "utf8": "utf-8", "latin1": "latin-1", "utf16": "utf-16-be"}
FLOATS = ("f16", "f32", "f64")


def text_of(data, encoding):
    if encoding == "utf16":
        data = data[: len(data) // 2 * 2]
        units = [data[i : i + 2] for i in range(0, len(data), 2)]
        data = b"".join(units[: units.index(b"\0\0")] if b"\0\0" in units else units)
    else:
        data = data.split(b"\0")[0]
    return data.decode(CODECS[encoding]).rstrip(" ")


def raw_value(point, words):
    kind = point["type"]
    if kind == "bool":
        return words[0] != 0
    if kind == "bit":
        return bool(words[0] >> point["bit"] & 1)
    if kind in ("u8", "i8"):
        data = struct.pack(">H", words[0])[0 if point["half"] == "high" else 1 :][:1]
        return struct.unpack(">B" if kind == "u8" else ">b", data)[0]
    if kind in ("string", "bytes"):
        order = "<" if point["byte_order"] in ("BADC", "DCBA") else ">"
        data = b"".join(struct.pack(order + "H", word) for word in words)[: point["length"]]
        return data.hex() if kind == "bytes" else text_of(data, point["encoding"])
    if len(words) > 1:
        if point["byte_order"] in ("CDAB", "DCBA"):
            words = words[::-1]
        if point["byte_order"] in ("BADC", "DCBA"):
            words = [(word >> 8) | (word & 0xFF) << 8 for word in words]
    data = b"".join(struct.pack(">H", word) for word in words)
    if kind.startswith("bcd"):
        return int(data.hex(), 10)
    number = struct.unpack(">" + FORMATS[kind], data)[0]
    if kind in FLOATS and not math.isfinite(number):
        raise ValueError("not a number")
    return number


def shortest(kind, number):
    """The decimal with the fewest digits that is the same float."""
    if kind == "f64":
        return repr(number)
    for digits in range(1, 18):
        text = f"{number:.{digits}g}"
        try:
            if struct.pack(">" + FORMATS[kind], float(text)) == struct.pack(">" + FORMATS[kind], number):
                return text
        except OverflowError:
            continue
    raise AssertionError(number)


def value(point, tables):
    table = tables[point["table"]]
    at = point["address"]
    if point["table"] in ("coil", "discrete"):
        return json.dumps(bool(table[at]))
    try:
        raw = raw_value(point, table[at : at + point["width"]])
        if not any(point[key] is not None for key in ("scale", "offset", "scale_from")):
            if point["type"] in FLOATS:
                return shortest(point["type"], raw)
            return json.dumps(raw, ensure_ascii=False)
        exact = decimal.Decimal(shortest(point["type"], raw) if point["type"] in FLOATS else raw)
        if point["scale_from"] is not None:
            power = struct.unpack(">h", struct.pack(">H", table[point["scale_from"]]))[0]
            if not -10 <= power <= 10:
                return "fault"
            exact = exact.scaleb(power)
        return str(exact * decimal.Decimal(point["scale"] or 1) + decimal.Decimal(point["offset"] or 0))
    except ValueError:
        # No text, no decimal digits, not a number.
        return "fault"


def read_tables(folder):
    tables = {}
    for name in ("holding", "input"):
        with open(f"{folder}/{name}", "rb") as file:
            tables[name] = list(struct.unpack(">65536H", file.read()))
    for name in ("coil", "discrete"):
        with open(f"{folder}/{name}", "rb") as file:
            tables[name] = [bool(byte) for byte in file.read()]
    return tables


async def main():
    folder = sys.argv[1]
    tables = read_tables(folder)
    with open(f"{folder}/points.json", encoding="utf-8") as file:
        points = json.load(file)
    with open(f"{folder}/values.json", "w", encoding="utf-8") as file:
        json.dump([value(point, tables) for point in points], file)
    blocks = []
    for name in ("coil", "discrete", "holding", "input"):
        kind = DataType.BITS if name in ("coil", "discrete") else DataType.REGISTERS
        blocks.append([SimData(0, values=tables[name], datatype=kind)])
    server = ModbusTcpServer(SimDevice(1, simdata=tuple(blocks)), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    await server.serving


asyncio.run(main())
