"""Customers of the shop. The first argument names one of the functions below, the others are its own.

shop_load.py send HOST:PORT SECONDS FILE PATH=RATE...   sends requests and writes a line for each into FILE
shop_load.py figures FILE FROM UNTIL PATH               prints number, failures, p50 and p99 of those sent in that time
"""

import asyncio
import math
import random
import sys
import time

# Longer than any request takes here.
PATIENCE = 30


async def answer(idle, host, port, path):
    """The status of one request, on a connection of an earlier one or a new one."""
    reader, writer = idle.pop() if idle else await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(line.split(":")[1] for line in head if line.startswith("content-length:"))
        await reader.readexactly(int(length))
        idle.append((reader, writer))
        return int(head[0].split()[1])
    except BaseException:
        writer.close()
        raise


async def request(idle, host, port, path, number, file):
    sent, began = time.time(), time.monotonic()
    try:
        status = await asyncio.wait_for(answer(idle, host, port, path.replace("{id}", str(number))), PATIENCE)
    except (OSError, EOFError, asyncio.TimeoutError):
        status = 0
    print(f"{sent:.3f} {path} {(time.monotonic() - began) * 1000:.2f} {status}", file=file, flush=True)


async def customers(end, idle, host, port, path, rate, file):
    """An open loop: the next request does not wait for the ones before it."""
    draw, at, tasks = random.Random(path), time.monotonic(), set()
    while (at := at + draw.expovariate(rate)) < end:
        await asyncio.sleep(at - time.monotonic())
        task = asyncio.create_task(request(idle, host, port, path, draw.randrange(1000, 10000), file))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def send(address, seconds, file, *rates):
    host, port = address.split(":")
    end, idle = time.monotonic() + float(seconds), []
    with open(file, "w") as file:
        rates = [rate.rsplit("=", 1) for rate in rates]
        await asyncio.gather(*(customers(end, idle, host, port, path, float(rate), file) for path, rate in rates))


def figures(file, begin, until, path):
    lines = [line.split() for line in open(file) if line.endswith("\n")]
    lines = [(float(ms), status) for sent, on, ms, status in lines if on == path and float(begin) <= float(sent) < float(until)]
    times = sorted(ms for ms, _ in lines)
    failed = sum(status != "200" for _, status in lines)
    quantile = lambda share: times[math.ceil(share * len(times)) - 1] if times else -1
    print(len(times), failed, f"{quantile(0.5):.1f}", f"{quantile(0.99):.1f}")


if sys.argv[1] == "send":
    asyncio.run(send(*sys.argv[2:]))
else:
    figures(*sys.argv[2:])
