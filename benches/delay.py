#!/usr/bin/env python3
"""A TCP proxy that adds a delay in each direction: delay.py LISTEN_HOST:PORT TARGET_HOST:PORT MILLISECONDS."""

import asyncio
import sys


async def pass_on(reader, writer, delay):
    loop = asyncio.get_running_loop()
    queue = asyncio.Queue()

    async def write():
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0, due - loop.time()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    writing = asyncio.create_task(write())
    data = b"first"
    while data:
        try:
            data = await reader.read(65536)
        except ConnectionError:
            data = b""
        queue.put_nowait((loop.time() + delay, data))
    try:
        await writing
    except ConnectionError:
        pass


async def main():
    listen, target, delay = sys.argv[1].rsplit(":", 1), sys.argv[2].rsplit(":", 1), int(sys.argv[3]) / 1000

    async def serve(reader, writer):
        # The handshake of a connection takes a round trip, too.
        await asyncio.sleep(2 * delay)
        there, back = await asyncio.open_connection(*target)
        await asyncio.gather(pass_on(reader, back, delay), pass_on(there, writer, delay))

    server = await asyncio.start_server(serve, *listen)
    await server.serve_forever()


asyncio.run(main())
