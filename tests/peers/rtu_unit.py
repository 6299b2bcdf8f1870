#!/usr/bin/env python3
"""A Modbus RTU unit on a serial line, 8E1, with nothing but Python's standard library.

    rtu_unit.py PORT BAUD UNIT_ID

Answers function 3 for every register: its value is its address. Opens the port again when it goes away.
"""
import os
import sys
import termios
import time

PORT, BAUD, UNIT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def crc(frame):
    """Of Modbus over serial line 1.02, section 2.5.1.2."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")


def opened():
    fd = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    speed = getattr(termios, f"B{BAUD}")
    control = termios.CS8 | termios.CREAD | termios.CLOCAL | termios.PARENB  # even: no PARODD; one stop bit: no CSTOPB
    termios.tcsetattr(fd, termios.TCSANOW, [0, 0, control, 0, speed, speed, [b"\0"] * 32])
    # A read ends with the first byte, or after a second.
    settings = termios.tcgetattr(fd)
    settings[6][termios.VMIN], settings[6][termios.VTIME] = 0, 10
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    termios.tcflush(fd, termios.TCIOFLUSH)
    return fd


def answer(request):
    start, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    if request[1] != 3 or not 1 <= count <= 125 or start + count > 0x10000:
        reply = bytes([UNIT, request[1] | 0x80, 1 if request[1] != 3 else 2])
    else:
        reply = bytes([UNIT, 3, 2 * count]) + b"".join((start + i).to_bytes(2, "big") for i in range(count))
    return reply + crc(reply)


def serve(fd):
    frame = b""
    while True:
        read = os.read(fd, 256)
        if not read:
            frame = b""
            continue
        frame += read
        # Requests have eight bytes; what is no frame is passed over byte by byte.
        while len(frame) >= 8:
            request = frame[:8]
            if request[6:] == crc(request[:6]):
                frame = frame[8:]
                if request[0] == UNIT:
                    os.write(fd, answer(request))
            else:
                frame = frame[1:]


while True:
    try:
        port = opened()
        try:
            serve(port)
        finally:
            os.close(port)
    except (OSError, termios.error) as error:
        print(f"{PORT}: {error}; trying again", flush=True)
        time.sleep(1)
